package fake

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/platforms"
)

// A Node is a file, a directory or a link.
type Node struct {
	Dir  bool   `json:"dir,omitempty"`
	Link string `json:"link,omitempty"` // target, of a link
	Mode int64  `json:"mode,omitempty"`
	UID  int    `json:"uid,omitempty"`
	GID  int    `json:"gid,omitempty"`
	Data []byte `json:"data,omitempty"`
}

// Files is a file tree: nodes by absolute clean path.
type Files map[string]*Node

// Base returns a tree with the directories of a small system and two users,
// root and ann.
func Base() Files {
	t := Files{}
	for _, d := range []string{"/", "/etc", "/tmp", "/root", "/home", "/home/ann", "/var", "/var/cache"} {
		t[d] = &Node{Dir: true, Mode: 0o755}
	}
	t["/etc/passwd"] = &Node{Mode: 0o644, Data: []byte("root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n")}
	return t
}

func (t Files) clone() Files {
	c := Files{}
	for name, n := range t {
		copied := *n
		copied.Data = slices.Clone(n.Data)
		c[name] = &copied
	}
	return c
}

var errLoop = errors.New("too many levels of links")

// resolve follows links, all of them if last, else all but the last.
func (t Files) resolve(name string, last bool) (string, error) {
	name = path.Clean("/" + name)
	for range 40 {
		at, rest := "/", strings.Split(strings.Trim(name, "/"), "/")
		followed := false
		for i, part := range rest {
			at = path.Join(at, part)
			n := t[at]
			if n == nil || n.Link == "" || i == len(rest)-1 && !last {
				continue
			}
			target := n.Link
			if !path.IsAbs(target) {
				target = path.Join(path.Dir(at), target)
			}
			name = path.Join(append([]string{"/", target}, rest[i+1:]...)...)
			followed = true
			break
		}
		if !followed {
			return name, nil
		}
	}
	return "", errLoop
}

func (t Files) get(name string) (*Node, error) {
	real, err := t.resolve(name, true)
	if err != nil {
		return nil, err
	}
	n := t[real]
	if n == nil {
		return nil, os.ErrNotExist
	}
	return n, nil
}

func (t Files) mkdirAll(name string) (string, error) {
	real, err := t.resolve(name, true)
	if err != nil {
		return "", err
	}
	for dir := real; ; dir = path.Dir(dir) {
		if n := t[dir]; n == nil {
			t[dir] = &Node{Dir: true, Mode: 0o755}
		} else if !n.Dir {
			return "", fmt.Errorf("%s is not a directory", dir)
		}
		if dir == "/" {
			return real, nil
		}
	}
}

func (t Files) remove(name string) {
	for other := range t {
		if other == name || strings.HasPrefix(other, strings.TrimSuffix(name, "/")+"/") {
			delete(t, other)
		}
	}
}

// below returns the names at and below name in order.
func (t Files) below(name string) []string {
	var names []string
	for other := range t {
		if other == name || strings.HasPrefix(other, strings.TrimSuffix(name, "/")+"/") {
			names = append(names, other)
		}
	}
	slices.Sort(names)
	return names
}

// unpack writes a tar stream below dst. It changes t even when it fails.
func (t Files) unpack(ctx context.Context, dst string, r io.Reader) error {
	root, err := t.mkdirAll(dst)
	if err != nil {
		return err
	}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := t.entry(root, h, tr); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

func (t Files) entry(root string, h *tar.Header, r io.Reader) error {
	if path.IsAbs(h.Name) || slices.Contains(strings.Split(h.Name, "/"), "..") {
		return errors.New("it leaves the destination")
	}
	name := path.Join(root, h.Name)
	parent, err := t.resolve(path.Dir(name), true)
	if err != nil {
		return err
	}
	if name != root && parent != root && root != "/" && !strings.HasPrefix(parent, root+"/") {
		return errors.New("it leaves the destination through a link")
	}
	if name != root {
		if _, err := t.mkdirAll(parent); err != nil {
			return err
		}
		name = path.Join(parent, path.Base(name))
	}
	if old, err := t.get(name); h.Typeflag != tar.TypeDir && err == nil && old.Dir && (h.Typeflag != tar.TypeSymlink || t[name].Dir) {
		return &platforms.DirError{Name: path.Clean(h.Name)}
	}
	n := &Node{Mode: h.Mode & 0o7777, UID: h.Uid, GID: h.Gid}
	switch h.Typeflag {
	case tar.TypeDir:
		n.Dir = true
		if old := t[name]; old != nil && !old.Dir {
			t.remove(name)
		}
	case tar.TypeSymlink:
		n.Link = h.Linkname
		t.remove(name)
	case tar.TypeReg:
		if n.Data, err = io.ReadAll(r); err != nil {
			return err
		}
		t.remove(name)
	default:
		return fmt.Errorf("type %q is not one that the fake knows", h.Typeflag)
	}
	t[name] = n
	return nil
}

// pack writes src as a tar stream.
func (t Files) pack(src string, w io.Writer) error {
	name, err := t.resolve(src, false)
	if err != nil {
		return err
	}
	if t[name] == nil {
		return os.ErrNotExist
	}
	tw := tar.NewWriter(w)
	for _, full := range t.below(name) {
		n := t[full]
		rel := path.Join(path.Base(name), strings.TrimPrefix(full, name))
		if name == "/" {
			rel = path.Join(".", full)
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: rel, Mode: n.Mode, Uid: n.UID, Gid: n.GID, Size: int64(len(n.Data))}
		switch {
		case n.Dir:
			h.Typeflag, h.Name = tar.TypeDir, rel+"/"
		case n.Link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, n.Link, 0o777
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := tw.Write(n.Data); err != nil {
			return err
		}
	}
	return tw.Close()
}

// extract writes the tree to the host's directory dir, owners apart.
func (t Files) extract(dir string) error {
	for _, name := range t.below("/") {
		n, at := t[name], filepath.Join(dir, filepath.FromSlash(name))
		var err error
		switch {
		case name == "/":
		case n.Dir:
			err = os.Mkdir(at, 0o700)
		case n.Link != "":
			err = os.Symlink(n.Link, at)
		default:
			err = os.WriteFile(at, n.Data, os.FileMode(n.Mode&0o777))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
