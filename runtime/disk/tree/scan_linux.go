package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/sparse"
)

// Scan reads the metadata of everything below dir, without crossing symbolic
// links. All of it happens on the calling goroutine.
func Scan(dir string) (*Tree, error) {
	s := scanner{dir: dir, links: map[inodeID]*Inode{}, buf: make([]byte, 64<<10)}
	root, err := s.entry(".", "")
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", dir, err)
	}
	if !root.IsDir() {
		return nil, fmt.Errorf("scan %s: not a directory", dir)
	}
	return &Tree{Dir: dir, Root: root}, nil
}

type inodeID struct{ dev, ino uint64 }

type scanner struct {
	dir   string
	links map[inodeID]*Inode
	buf   []byte
}

func (s *scanner) entry(p, name string) (*Entry, error) {
	abs := filepath.Join(s.dir, p)
	var st unix.Stat_t
	if err := unix.Lstat(abs, &st); err != nil {
		return nil, &os.PathError{Op: "lstat", Path: p, Err: err}
	}
	id := inodeID{st.Dev, st.Ino}
	isDir := st.Mode&TypeMask == TypeDir
	if !isDir && st.Nlink > 1 {
		if in := s.links[id]; in != nil {
			in.Links++
			return &Entry{Inode: in, Name: name}, nil
		}
	}
	in := &Inode{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, Links: 1,
		Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec),
	}
	switch in.Type() {
	case TypeRegular:
		in.Size, in.Stored, in.first = st.Size, st.Blocks*512, p
		if in.Stored < in.Size {
			stored, err := dataSize(abs, in.Size)
			if err != nil {
				return nil, err
			}
			in.Stored = stored
		}
	case TypeBlock, TypeChar:
		in.Major, in.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case TypeSymlink:
		n, err := unix.Readlink(abs, s.buf)
		if err != nil {
			return nil, &os.PathError{Op: "readlink", Path: p, Err: err}
		}
		in.Target = string(s.buf[:n])
	}
	var err error
	if in.Xattrs, err = s.xattrs(abs); err != nil {
		return nil, &os.PathError{Op: "read extended attributes", Path: p, Err: err}
	}
	if !isDir && st.Nlink > 1 {
		s.links[id] = in
	}
	e := &Entry{Inode: in, Name: name}
	if isDir {
		err = s.children(e, p, abs)
	}
	return e, err
}

func (s *scanner) children(e *Entry, p, abs string) error {
	d, err := os.Open(abs)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	sort.Strings(names)
	e.Children = make([]*Entry, len(names))
	for i, name := range names {
		if e.Children[i], err = s.entry(path.Join(p, name), name); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) xattrs(abs string) ([]Xattr, error) {
	n, err := unix.Llistxattr(abs, s.buf)
	if errors.Is(err, unix.ENOTSUP) || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Xattr
	for _, name := range bytes.Split(bytes.TrimSuffix(bytes.Clone(s.buf[:n]), []byte{0}), []byte{0}) {
		n, err := unix.Lgetxattr(abs, string(name), s.buf)
		if errors.Is(err, unix.ENODATA) {
			continue // listed, and not for this user to see
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, Xattr{Name: string(name), Value: bytes.Clone(s.buf[:n])})
	}
	sortXattrs(list)
	return list, nil
}

// dataSize returns how many of the size bytes of a file lie outside of holes.
// The blocks that it takes do not say that where the file system compresses.
func dataSize(file string, size int64) (n int64, err error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for off := int64(0); off < size; {
		start, end, err := sparse.NextData(f, off, size)
		if err == io.EOF {
			break
		} else if err != nil {
			return 0, err
		}
		n += end - start
		off = end
	}
	return n, nil
}

// Open opens a regular file of the tree that lies on the host.
func (t *Tree) Open(in *Inode) (*os.File, error) {
	return os.OpenFile(filepath.Join(t.Dir, in.first), os.O_RDONLY|unix.O_NOFOLLOW, 0)
}
