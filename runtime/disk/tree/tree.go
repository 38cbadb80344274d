package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
)

// The types of files in an Inode's Mode, as of inode(7).
const (
	TypeMask    = 0o170000
	TypeSocket  = 0o140000
	TypeSymlink = 0o120000
	TypeRegular = 0o100000
	TypeBlock   = 0o060000
	TypeDir     = 0o040000
	TypeChar    = 0o020000
	TypePipe    = 0o010000
)

// An Xattr is one extended attribute under its full name, such as
// "security.capability".
type Xattr struct {
	Name  string
	Value []byte
}

// An Inode is a file of any type.
type Inode struct {
	Mode         uint32 // type and permission bits, as of inode(7)
	UID, GID     uint32
	Size         int64 // bytes of content of a regular file
	Stored       int64 // bytes of it outside of holes, or a little more
	Sec          int64 // modification time
	Nsec         uint32
	Major, Minor uint32 // of a device
	Target       string // of a symbolic link
	Xattrs       []Xattr
	Links        int // names in this tree; for directories 1

	// Data is the content of a file that Add made, which is nowhere on the host.
	Data []byte

	first string // the path to open it by
}

// Type returns the bits of Mode that are the type.
func (i *Inode) Type() uint32 { return i.Mode & TypeMask }

// IsDir reports whether the inode is a directory.
func (i *Inode) IsDir() bool { return i.Type() == TypeDir }

// IsRegular reports whether the inode is a regular file.
func (i *Inode) IsRegular() bool { return i.Type() == TypeRegular }

// IsWhiteout reports whether the inode is an overlay's mark for a file that
// is removed: the character device 0/0.
func (i *Inode) IsWhiteout() bool {
	return i.Type() == TypeChar && i.Major == 0 && i.Minor == 0
}

// Xattr returns the value of one extended attribute.
func (i *Inode) Xattr(name string) ([]byte, bool) {
	for _, x := range i.Xattrs {
		if x.Name == name {
			return x.Value, true
		}
	}
	return nil, false
}

// An Entry is one name in a directory.
type Entry struct {
	*Inode
	Name     string   // "" for the root
	Children []*Entry // of a directory, sorted by name
}

func (e *Entry) child(name string) (int, bool) {
	return slices.BinarySearchFunc(e.Children, name, func(c *Entry, n string) int { return strings.Compare(c.Name, n) })
}

// A Tree is the metadata of a file tree, and a way to its contents.
type Tree struct {
	Dir  string // the directory that was read
	Root *Entry
}

// Walk calls fn for every entry, directories before what is in them, with the
// slash-separated path relative to the root, which is ".". When fn returns
// fs.SkipDir for a directory, what is in it is left out.
func (t *Tree) Walk(fn func(path string, e *Entry) error) error {
	return walk(".", t.Root, fn)
}

func walk(p string, e *Entry, fn func(string, *Entry) error) error {
	if err := fn(p, e); errors.Is(err, fs.SkipDir) {
		return nil
	} else if err != nil {
		return err
	}
	for _, c := range e.Children {
		if err := walk(path.Join(p, c.Name), c, fn); err != nil {
			return err
		}
	}
	return nil
}

// Lookup returns the entry at a path relative to the root, or nil. Symbolic
// links on the way are not followed.
func (t *Tree) Lookup(p string) *Entry {
	e := t.Root
	for _, name := range strings.Split(p, "/") {
		if name == "" || name == "." {
			continue
		}
		i, ok := e.child(name)
		if !ok {
			return nil
		}
		e = e.Children[i]
	}
	return e
}

// maxLinks is how many symbolic links a path may lead through, as in Linux.
const maxLinks = 40

// Follow returns the entry at a path relative to the root, with the path that
// leads there without symbolic links, which never leave the tree. The entry is nil
// where there is none.
func (t *Tree) Follow(p string) (real string, e *Entry) {
	left := strings.Split(p, "/")
	var at []string
	e = t.Root
	for links := 0; len(left) > 0; {
		name := left[0]
		left = left[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = at[:max(len(at)-1, 0)]
			e = t.Lookup(strings.Join(at, "/"))
			continue
		}
		i, ok := e.child(name)
		if !ok {
			return "", nil
		}
		c := e.Children[i]
		if c.Type() != TypeSymlink {
			at, e = append(at, name), c
			continue
		}
		if links++; links > maxLinks {
			return "", nil
		}
		if strings.HasPrefix(c.Target, "/") {
			at, e = nil, t.Root
		}
		left = slices.Concat(strings.Split(c.Target, "/"), left)
	}
	return strings.Join(at, "/"), e
}

// Add puts a regular file at a path relative to the tree's root, in place of what
// is there, making directories that are missing. A regular file that was there
// gives it its owner, permissions and attributes; otherwise it is root's, with
// perm, and has the SELinux label of the directory, as the kernel would give it.
// New inodes have the modification time sec. Nothing changes on the host.
func (t *Tree) Add(p string, perm uint32, data []byte, sec int64) error {
	dir := t.Root
	names := strings.Split(path.Clean(p), "/")
	for i, name := range names {
		at, found := dir.child(name)
		last := i == len(names)-1
		if found && !last {
			if dir = dir.Children[at]; !dir.IsDir() {
				return fmt.Errorf("add %s: %s is not a directory", p, strings.Join(names[:i+1], "/"))
			}
			continue
		}
		if found && dir.Children[at].IsDir() {
			return fmt.Errorf("add %s: it is a directory", p)
		}
		in := &Inode{Mode: TypeDir | 0o755, Sec: sec, Links: 1}
		if last {
			in = &Inode{Mode: TypeRegular | perm, Sec: sec, Links: 1, Data: data, Size: int64(len(data)), Stored: int64(len(data))}
		}
		if label, ok := dir.Xattr(labelXattr); ok {
			in.Xattrs = []Xattr{{labelXattr, label}}
		}
		if found && dir.Children[at].IsRegular() {
			old := dir.Children[at]
			in.Mode, in.UID, in.GID, in.Xattrs = old.Mode, old.UID, old.GID, old.Xattrs
		}
		e := &Entry{Inode: in, Name: name}
		if found {
			dir.Children[at].Links--
			dir.Children[at] = e
		} else {
			dir.Children = slices.Insert(dir.Children, at, e)
		}
		dir = e
	}
	return nil
}

// labelXattr is where SELinux keeps a file's label.
const labelXattr = "security.selinux"

// Content returns the content of a regular file, which the caller closes. It
// must be called where the tree's directory is valid; what it returns may be
// read anywhere.
func (t *Tree) Content(in *Inode) (io.ReadCloser, error) {
	if in.Data != nil || in.first == "" {
		return io.NopCloser(bytes.NewReader(in.Data)), nil
	}
	return t.Open(in)
}

// Usage counts what a tree holds.
type Usage struct {
	Inodes int
	Bytes  int64 // of content, holes left out
	Newest int64 // the latest modification time, seconds
}

// Usage walks the tree and counts.
func (t *Tree) Usage() Usage {
	var u Usage
	seen := map[*Inode]bool{}
	// The function never fails, so neither does Walk.
	_ = t.Walk(func(_ string, e *Entry) error {
		if e.Links > 1 {
			if seen[e.Inode] {
				return nil
			}
			seen[e.Inode] = true
		}
		u.Inodes++
		u.Bytes += min(e.Size, e.Stored)
		if !e.IsWhiteout() {
			u.Newest = max(u.Newest, e.Sec)
		}
		return nil
	})
	return u
}

func sortXattrs(x []Xattr) {
	sort.Slice(x, func(i, j int) bool { return x[i].Name < x[j].Name })
}
