package cover

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Options say what a step needs.
type Options struct {
	Hostname string
	Resolv   []byte // the content of the host's /etc/resolv.conf; nil without a network
	Hosts    []byte // the content of the host's /etc/hosts; nil without a network
}

// A Cover is what was put over an image.
type Cover struct {
	// Memory names the files below /run, which is memory, that have to hold
	// Resolv: images whose /etc/resolv.conf is a link to one, as that of
	// systemd-resolved is, get their names from there.
	Memory []string
	Resolv []byte

	files []file
}

// A file is one that the cover has.
type file struct {
	name string // absolute
	data []byte
	had  *content // what the image has in its place, nil for nothing
	// left returns what stays of a file that a step has changed; nil means that
	// nothing does.
	left func(f *file, now []byte) []byte
}

type content struct {
	data    []byte
	regular bool // no link and nothing else
	st      unix.Stat_t
}

// What a resolver of systemd writes while it runs.
var resolvedFiles = []string{"/run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/resolv.conf"}

// Make fills dir, an empty directory, with the cover of the image at root.
func Make(root, dir string, o Options) (*Cover, error) {
	r, err := openRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.close()
	c := &Cover{}
	for _, add := range []func(*image, Options) error{c.resolv, c.hosts, c.programs} {
		if err := add(r, o); err != nil {
			return nil, err
		}
	}
	if err := c.write(r, dir); err != nil {
		return nil, fmt.Errorf("cover image: %w", err)
	}
	return c, nil
}

// add puts a file over the image's; merge makes its content of the image's own.
func (c *Cover) add(r *image, name string, merge func(had []byte) []byte, left func(*file, []byte) []byte) error {
	had, err := r.read(name)
	if errors.Is(err, errNoFile) {
		return nil
	}
	if err != nil {
		return err
	}
	f := file{name: name, had: had, left: left}
	if had != nil {
		f.data = merge(had.data)
	} else {
		f.data = merge(nil)
	}
	c.files = append(c.files, f)
	return nil
}

// write makes the files in dir, in directories that look like the image's.
func (c *Cover) write(r *image, dir string) error {
	var dirs []string
	for _, f := range c.files {
		at := dir
		for _, name := range strings.Split(strings.Trim(path.Dir(f.name), "/"), "/") {
			at += "/" + name
			err := os.Mkdir(at, 0o755)
			if errors.Is(err, os.ErrExist) {
				continue
			} else if err != nil {
				return err
			}
			dirs = append(dirs, strings.TrimPrefix(at, dir))
		}
		mode := uint32(0o644)
		switch {
		case bytes.HasPrefix(f.data, []byte("#!")):
			mode = 0o755
		case path.Dir(f.name) == sudoersDir:
			mode = 0o440 // visudo --check refuses any other
		}
		if err := os.WriteFile(dir+f.name, f.data, 0o600); err != nil {
			return err
		}
		if f.had != nil && f.had.regular {
			if err := r.imitate(f.name, dir+f.name, &f.had.st); err != nil {
				return err
			}
		} else if err := unix.Chmod(dir+f.name, mode); err != nil {
			return err
		}
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		var st unix.Stat_t
		if err := r.stat(dirs[i], &st); errors.Is(err, unix.ENOENT) {
			continue // /etc in an image that has none
		} else if err != nil {
			return err
		}
		if err := r.imitate(dirs[i], dir+dirs[i], &st); err != nil {
			return err
		}
	}
	return nil
}

// Settle takes what the cover had out of what a step has left in the directory
// upper. No process of the step may be left.
func (c *Cover) Settle(upper string) error {
	r, err := openRoot(upper)
	if err != nil {
		return err
	}
	defer r.close()
	for i := range c.files {
		if err := c.files[i].settle(r); err != nil {
			return fmt.Errorf("settle %s: %w", c.files[i].name, err)
		}
	}
	return c.settleCopies(upper)
}

func (f *file) settle(r *image) error {
	dir, err := r.place(path.Dir(f.name), unix.O_DIRECTORY|unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS)
	if isNone(err) {
		return nil
	} else if err != nil {
		return err
	}
	defer unix.Close(dir)
	base := path.Base(f.name)
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err == unix.ENOENT {
		return nil
	} else if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 && f.had == nil {
		return unix.Unlinkat(dir, base, 0) // what a step removed here is not the image's
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	fd, err := unix.Openat(dir, base, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	at := os.NewFile(uintptr(fd), f.name)
	defer at.Close()
	if st.Size > maxFile {
		return nil
	}
	now := make([]byte, st.Size)
	if _, err := at.ReadAt(now, 0); err != nil {
		return err
	}
	left := f.left(f, now)
	switch {
	case left == nil:
		return unix.Unlinkat(dir, base, 0)
	case bytes.Equal(left, now):
		return nil
	}
	if err := at.Truncate(0); err != nil {
		return err
	}
	if _, err := at.WriteAt(left, 0); err != nil {
		return err
	}
	// Writing takes set-id bits away.
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, base, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// restored is what stays of a file in which the step left what it found.
func (f *file) restored() []byte {
	if f.had == nil || !f.had.regular {
		return nil
	}
	return append([]byte{}, f.had.data...)
}
