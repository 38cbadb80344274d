package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// maxDepth bounds how many directories a removal holds open at a time.
const maxDepth = 64

// removeTree removes path with all that is below, except the files keep at
// its top. It overcomes modes and flags that forbid it as far as the process
// may change them, and never descends into another mount: what a process left
// mounted here may be anything, the host's own root included.
func removeTree(path string, keep ...string) error {
	top, err := openTop(path)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return os.Remove(path)
	case err != nil:
		return (&remover{path: path}).fail("", err)
	}
	r := remover{top: top, path: path}
	err = r.empty(top, "", 0, keep)
	// Directories that lay too deep were moved up: now they lie at the top.
	for err == nil && r.moved {
		r.moved = false
		err = r.empty(top, "", 0, keep)
	}
	if cerr := unix.Close(top); err == nil {
		err = cerr
	}
	if err != nil || len(keep) > 0 {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// openTop opens the directory path, unless something is mounted on it.
func openTop(path string) (int, error) {
	above, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	name := filepath.Base(path)
	fd, err := openDir(above, name)
	if errors.Is(err, unix.EACCES) {
		if err = unix.Fchmodat(above, name, 0o700, 0); err == nil {
			fd, err = openDir(above, name)
		}
	}
	if cerr := unix.Close(above); err == nil && cerr != nil {
		return -1, errors.Join(cerr, unix.Close(fd))
	}
	return fd, err
}

type remover struct {
	top   int
	path  string
	moved bool
}

func (r *remover) fail(rel string, err error) error {
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EBUSY) {
		err = fmt.Errorf("a file system is mounted there: %w", err)
	}
	return &os.PathError{Op: "remove", Path: filepath.Join(r.path, rel), Err: err}
}

// empty removes what is in the directory fd, whose path is rel.
func (r *remover) empty(fd int, rel string, depth int, keep []string) error {
	// The descriptor is the caller's: the os.File gets one of its own.
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return r.fail(rel, err)
	}
	f := os.NewFile(uintptr(own), rel)
	defer f.Close()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return r.fail(rel, err)
	}
	names, err := f.Readdirnames(-1)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return r.fail(rel, err)
	}
	for _, name := range names {
		if slices.Contains(keep, name) {
			continue
		}
		if err := r.remove(fd, name, filepath.Join(rel, name), depth); err != nil {
			return err
		}
	}
	return nil
}

// remove removes name in the directory fd.
func (r *remover) remove(fd int, name, rel string, depth int) error {
	err := unlink(fd, name, 0)
	if err == nil {
		return nil
	}
	var st unix.Stat_t
	if serr := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); errors.Is(serr, unix.ENOENT) {
		return nil
	} else if serr != nil {
		return r.fail(rel, serr)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return r.fail(rel, err)
	}
	if unlink(fd, name, unix.AT_REMOVEDIR) == nil {
		return nil
	}
	if depth >= maxDepth {
		if err := unix.Renameat(fd, name, r.top, "deep-"+rand.Text()); err != nil {
			return r.fail(rel, err)
		}
		r.moved = true
		return nil
	}
	dir, err := openDir(fd, name)
	if errors.Is(err, unix.EACCES) {
		if err := unix.Fchmodat(fd, name, 0o700, 0); err != nil {
			return r.fail(rel, err)
		}
		dir, err = openDir(fd, name)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	} else if err != nil {
		return r.fail(rel, err)
	}
	err = r.empty(dir, rel, depth+1, nil)
	if cerr := unix.Close(dir); err == nil && cerr != nil {
		err = r.fail(rel, cerr)
	}
	if err != nil {
		return err
	}
	if err := unlink(fd, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return r.fail(rel, err)
	}
	return nil
}

// openDir opens a directory that lies on the same mount as fd. A kernel before
// 5.6 cannot tell mounts of the same file system apart.
func openDir(fd int, name string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	dir, err := unix.Openat2(fd, name, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
		return dir, err
	}
	dir, err = unix.Openat(fd, name, flags, 0)
	if err != nil {
		return dir, err
	}
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &a), unix.Fstat(dir, &b)); err != nil {
		return -1, errors.Join(err, unix.Close(dir))
	}
	if a.Dev != b.Dev {
		return -1, errors.Join(unix.EXDEV, unix.Close(dir))
	}
	return dir, nil
}

// unlink removes one name. If a mode or a flag forbids that, it is changed.
func unlink(fd int, name string, flags int) error {
	err := unix.Unlinkat(fd, name, flags)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EACCES):
		if cerr := unix.Fchmod(fd, 0o700); cerr != nil {
			return err
		}
	case errors.Is(err, unix.EPERM):
		clearFlags(fd)
		if cerr := clearNamed(fd, name); cerr != nil {
			return cerr
		}
	default:
		return err
	}
	err = unix.Unlinkat(fd, name, flags)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// clearNamed is clearFlags of the file or directory name. Others are left
// alone: to open a device may do something.
func clearNamed(fd int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if t := st.Mode & unix.S_IFMT; t != unix.S_IFREG && t != unix.S_IFDIR {
		return nil
	}
	f, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // then it cannot be helped, which the next try to unlink tells
	}
	clearFlags(f)
	return unix.Close(f)
}

// clearFlags makes a file mutable. That it cannot shows in the next try to
// unlink.
func clearFlags(fd int) {
	const immutable, appendOnly = 0x10, 0x20 // FS_IMMUTABLE_FL, FS_APPEND_FL of linux/fs.h
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err == nil && flags&(immutable|appendOnly) != 0 {
		_ = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags&^(immutable|appendOnly))
	}
}
