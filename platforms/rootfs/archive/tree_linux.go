package archive

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// A tree is a directory below which all names are resolved by the kernel.
type tree struct {
	root    int
	resolve uint64

	// The directory that was looked up last, since entries of an archive come
	// directory by directory. Anything that removes an entry forgets it.
	last   string
	lastFD int

	// changing, if not nil, is called before an entry of a directory is made or
	// removed, and madeDir after a directory was made that was missing on the way.
	changing, madeDir func(name string, fd int) error
}

func openTree(dir string, links Links) (*tree, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	t := &tree{root: fd, lastFD: -1, resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	if links == LinksBeneath {
		t.resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS
	}
	return t, nil
}

func (t *tree) close() {
	t.forget()
	unix.Close(t.root)
}

func (t *tree) forget() {
	if t.lastFD >= 0 {
		unix.Close(t.lastFD)
		t.lastFD = -1
	}
}

func (t *tree) open(name string) (int, error) {
	for {
		fd, err := unix.Openat2(t.root, name, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: t.resolve,
		})
		switch err {
		case unix.EAGAIN, unix.EINTR: // the kernel could not rule out a race with a rename
			continue
		case unix.EXDEV:
			return -1, fmt.Errorf("entry escapes: directory %q leads out of the destination", name)
		}
		return fd, err
	}
}

// existing returns a descriptor of the directory name, valid until the next
// call of existing or parent.
func (t *tree) existing(name string) (int, error) {
	if name == "." {
		return t.root, nil
	}
	if t.lastFD >= 0 && t.last == name {
		return t.lastFD, nil
	}
	fd, err := t.open(name)
	if err != nil {
		return -1, err
	}
	t.forget()
	t.last, t.lastFD = name, fd
	return fd, nil
}

// parent is existing that makes what is missing.
func (t *tree) parent(name string) (int, error) {
	fd, err := t.existing(name)
	if !errors.Is(err, unix.ENOENT) {
		if err != nil {
			return -1, fmt.Errorf("open directory %q: %w", name, err)
		}
		return fd, nil
	}
	up, err := t.parent(path.Dir(name))
	if err != nil {
		return -1, err
	}
	if t.changing != nil {
		if err := t.changing(path.Dir(name), up); err != nil {
			return -1, err
		}
	}
	if err := unix.Mkdirat(up, path.Base(name), 0o755); err != nil {
		return -1, fmt.Errorf("make directory %q: %w", name, err)
	}
	// The umask of whoever runs bake is no part of an image.
	if err := unix.Fchmodat(up, path.Base(name), 0o755, 0); err != nil {
		return -1, fmt.Errorf("make directory %q: change mode: %w", name, err)
	}
	if err := setTimes(up, path.Base(name), fileTimes()); err != nil {
		return -1, fmt.Errorf("make directory %q: %w", name, err)
	}
	fd, err = t.existing(name)
	if err == nil && t.madeDir != nil {
		err = t.madeDir(name, fd)
	}
	return fd, err
}

// isDir reports whether the entry is a directory or, with links, leads to one
// inside of the tree.
func (t *tree) isDir(dir int, base string, links bool) (bool, error) {
	var st unix.Stat_t
	switch err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err {
	case nil:
	case unix.ENOENT:
		return false, nil
	default:
		return false, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return true, nil
	case unix.S_IFLNK:
		return links && t.leadsToDir(dir, base), nil
	}
	return false, nil
}

func (t *tree) isLink(dir int, base string) bool {
	var st unix.Stat_t
	return unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

// leadsToDir resolves the link from the root of the tree, so that what it finds
// is what a later entry below it will find.
func (t *tree) leadsToDir(dir int, base string) bool {
	name := base
	if dir != t.root {
		name = path.Join(t.last, base)
	}
	fd, err := t.open(name)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// remove removes the entry with all below it. A missing one is no error. dir
// stays valid when it is the root or the directory that was looked up last.
func (t *tree) remove(dir int, base string) error {
	err := unix.Unlinkat(dir, base, 0)
	if err == unix.ENOENT {
		return nil
	}
	if dir != t.lastFD {
		t.forget() // it may have been reached through what is removed
	}
	if err == nil {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM {
		return fmt.Errorf("remove what is there: %w", err)
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir))
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.RemoveAll(base); err != nil {
		return fmt.Errorf("remove what is there: %w", err)
	}
	return nil
}

// procPath names an entry of an open directory for system calls that have no
// form that takes a descriptor.
func procPath(dir int, base string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir, base)
}
