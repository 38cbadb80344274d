package sandbox

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// A root is the tree before it is the root directory. Paths in it are resolved
// by the kernel as if it were.
type root struct {
	fd   int
	mask string // where what hides other things lies on the host
}

func openRoot(dir string) (*root, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open tree: %w", err)
	}
	return &root{fd: fd}, nil
}

func (r *root) close() { unix.Close(r.fd) }

// open returns a descriptor of name that only serves as a place. With follow,
// links on the way and at the end are followed inside of the tree.
func (r *root) open(name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat2(r.fd, strings.TrimLeft(name, "/"), &unix.OpenHow{
			Flags:   uint64(flags) | unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
}

// on calls do with a path of the host that leads to the directory name. The
// directory must be one: a link in its place could lead to another.
func (r *root) on(name string, do func(place string) error) error {
	fd, err := r.open(name, unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("mount on %s: the image must have a directory there: %w", name, err)
	}
	defer unix.Close(fd)
	return do(place(fd))
}

func place(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// mkdirAll makes the directory name and returns a descriptor of it.
func (r *root) mkdirAll(name string) (int, error) {
	fd, err := r.open(name, unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) || name == "/" {
		return fd, err
	}
	up, err := r.mkdirAll(path.Dir(name))
	if err != nil {
		return -1, err
	}
	defer unix.Close(up)
	if err := unix.Mkdirat(up, path.Base(name), 0o755); err != nil {
		return -1, err
	}
	return r.open(name, unix.O_DIRECTORY)
}
