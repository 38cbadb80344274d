package cover

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile is how large a file may be to be covered or settled.
const maxFile = 1 << 20

// errNoFile says that what an image has in the place of a file cannot be covered.
var errNoFile = errors.New("not a file to cover")

// An image is a tree whose links lead nowhere else.
type image struct{ fd int }

func openRoot(dir string) (*image, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &image{fd}, nil
}

func (r *image) close() { unix.Close(r.fd) }

// place opens name as a place only.
func (r *image) place(name string, flags int, resolve uint64) (int, error) {
	return r.open(name, flags|unix.O_PATH, resolve)
}

func (r *image) open(name string, flags int, resolve uint64) (int, error) {
	name = "./" + strings.TrimLeft(name, "/")
	for {
		fd, err := unix.Openat2(r.fd, name, &unix.OpenHow{
			Flags:   uint64(flags) | unix.O_CLOEXEC,
			Resolve: resolve | unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
}

// isNone reports whether err says that a name leads to nothing.
func isNone(err error) bool {
	return err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP
}

// stat is lstat of a name without links on the way.
func (r *image) stat(name string, st *unix.Stat_t) error {
	fd, err := r.place(name, unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fstat(fd, st)
}

func (r *image) isDir(name string) bool {
	var st unix.Stat_t
	return r.stat(name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

func (r *image) has(name string) bool {
	fd, err := r.place(name, 0, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// read returns what is at name: its content, through links; nil where there is
// nothing.
func (r *image) read(name string) (*content, error) {
	c := &content{}
	err := r.stat(name, &c.st)
	switch kind := c.st.Mode & unix.S_IFMT; {
	case err == unix.ENOENT:
		return nil, nil
	case isNone(err):
		return nil, errNoFile // below a link
	case err != nil:
		return nil, &os.PathError{Op: "stat", Path: name, Err: err}
	case kind == unix.S_IFREG:
		c.regular = true
	case kind != unix.S_IFLNK:
		return nil, errNoFile
	}
	fd, err := r.open(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil && !c.regular {
		return c, nil // a link that leads nowhere
	} else if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() > maxFile {
		return nil, errors.Join(errNoFile, err)
	}
	c.data, err = io.ReadAll(io.LimitReader(f, maxFile))
	return c, err
}

// resolve returns where name leads when all links are followed, below /run
// without a look at what is there.
func (r *image) resolve(name string) (string, error) {
	parts, at, links := strings.Split(name, "/"), "", 0
	for len(parts) > 0 {
		part := parts[0]
		parts = parts[1:]
		switch next := path.Join("/", at, part); {
		case part == "" || part == ".":
		case part == ".." || next == "/run" || strings.HasPrefix(next, "/run/"):
			at = next
		default:
			target, err := r.readlink(next)
			if err != nil {
				return "", err
			}
			if target == "" {
				at = next
				continue
			}
			if links++; links > 40 {
				return "", unix.ELOOP
			}
			if path.IsAbs(target) {
				at = ""
			}
			parts = append(strings.Split(target, "/"), parts...)
		}
	}
	return at, nil
}

// readlink returns the target of a link, "" for anything else.
func (r *image) readlink(name string) (string, error) {
	fd, err := r.place(name, unix.O_NOFOLLOW, 0)
	if isNone(err) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", b)
	if err == unix.ENOENT || err == unix.EINVAL {
		return "", nil
	}
	return string(b[:max(n, 0)]), err
}

// imitate gives the file at the owner, mode, times and attributes of name.
func (r *image) imitate(name, at string, st *unix.Stat_t) error {
	if err := os.Lchown(at, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(at, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: at, Err: err}
	}
	fd, err := r.place(name, unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	if err := copyXattrs(fmt.Sprintf("/proc/self/fd/%d", fd), at); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, at, []unix.Timespec{st.Atim, st.Mtim}, 0)
}

// copyXattrs copies access lists and users' own attributes, which are part of a
// layer when a step changes the file.
func copyXattrs(from, to string) error {
	buf := make([]byte, 64<<10)
	n, err := unix.Listxattr(from, buf)
	if err == unix.ENOTSUP {
		return nil
	} else if err != nil {
		return &os.PathError{Op: "list attributes", Path: from, Err: err}
	}
	for _, b := range bytes.Split(bytes.TrimSuffix(bytes.Clone(buf[:n]), []byte{0}), []byte{0}) {
		name := string(b)
		if !strings.HasPrefix(name, "system.posix_acl_") && !strings.HasPrefix(name, "user.") {
			continue
		}
		n, err := unix.Getxattr(from, name, buf)
		if err == nil {
			err = unix.Setxattr(to, name, buf[:n], 0)
		}
		if err != nil {
			return &os.PathError{Op: "copy attribute " + name, Path: to, Err: err}
		}
	}
	return nil
}
