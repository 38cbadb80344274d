package overlay

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// At mounts a tmpfs over the directory base and the tree inside of it, and
// returns the tree's path. skeleton, if not nil, fills a directory that then
// lies below the oldest layer: what it holds can be seen where no layer says
// otherwise, and never becomes part of a layer. The mounts live as long as the
// mount namespace of the calling thread, which must be private to it. The
// working directory of the thread changes.
func (m Mount) At(base string, skeleton func(dir string) error) (string, error) {
	if len(m.Lowers) > MaxLayers {
		return "", fmt.Errorf("mount layers: a chain of %d layers is more than the %d that overlayfs stacks", len(m.Lowers), MaxLayers)
	}
	if err := unix.Mount("bake", base, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, "mode=0755"); err != nil {
		return "", fmt.Errorf("mount tmpfs: %w", err)
	}
	for _, name := range []string{"tree", "skeleton"} {
		if err := os.Mkdir(filepath.Join(base, name), 0o755); err != nil {
			return "", err
		}
	}
	if skeleton != nil {
		if err := skeleton(filepath.Join(base, "skeleton")); err != nil {
			return "", fmt.Errorf("make skeleton: %w", err)
		}
	}
	// Short relative names keep any chain within the one page of options that
	// mount(2) takes, and free of the characters that would need escapes.
	if err := unix.Chdir(base); err != nil {
		return "", err
	}
	options, err := m.options(skeleton != nil)
	if err != nil {
		return "", err
	}
	flags := uintptr(unix.MS_NODEV)
	if m.NoSUID {
		flags |= unix.MS_NOSUID
	}
	if m.Upper == "" {
		flags |= unix.MS_RDONLY
	}
	err = m.mount(flags, options)
	if err != nil {
		return "", fmt.Errorf("mount overlay of %d layers: %w", len(m.Lowers), err)
	}
	return filepath.Join(base, "tree"), nil
}

// busyFor is how long the mount of a command that has ended may still hold an
// upper directory: the kernel lets go of it a moment later.
const busyFor = 5 * time.Second

func (m Mount) mount(flags uintptr, options string) error {
	// volatile spares the layer every fsync of a package manager: the store
	// makes a layer durable once, when it is whole. Before Linux 5.10 it is unknown.
	for begin := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		// The mark of a volatile mount says that its data may not be on disk. The
		// upper directory never outlives the boot of the host, so it may go.
		if m.Upper != "" {
			if err := os.RemoveAll(filepath.Join(m.Work, "work", "incompat")); err != nil {
				return err
			}
		}
		err := unix.Mount("bake", "tree", "overlay", flags, options+",volatile")
		if err == unix.EINVAL || m.Upper == "" && err != nil {
			err = unix.Mount("bake", "tree", "overlay", flags, options)
		}
		if err != unix.EBUSY || time.Since(begin) > busyFor {
			return err
		}
	}
}

func (m Mount) options(skeleton bool) (string, error) {
	var lowers []string
	if m.Cover != "" {
		if err := os.Symlink(m.Cover, "cover"); err != nil {
			return "", err
		}
		lowers = append(lowers, "cover")
	}
	for i := len(m.Lowers) - 1; i >= 0; i-- {
		name := strconv.Itoa(i)
		if err := os.Symlink(m.Lowers[i], name); err != nil {
			return "", err
		}
		lowers = append(lowers, name)
	}
	if skeleton || m.Upper == "" || len(lowers) == 0 {
		lowers = append(lowers, "skeleton") // a read-only overlay needs two
	}
	options := "lowerdir=" + strings.Join(lowers, ":") + ",xino=off"
	if m.Upper == "" {
		return options + m.form("index=off", "redirect_dir=off"), nil
	}
	// The last mount noted which layer was its topmost one, and insists on it;
	// this one may have another cover.
	if err := removeXattr(m.Upper, m.mark("origin")); err != nil {
		return "", err
	}
	for name, dir := range map[string]string{"upper": m.Upper, "work": m.Work} {
		if err := os.Symlink(dir, name); err != nil {
			return "", err
		}
	}
	return options + m.form("index=on", "redirect_dir=on") + ",upperdir=upper,workdir=work", nil
}

// form returns the options of the form in which marks are kept.
func (m Mount) form(index, redirect string) string {
	if m.UserXattr {
		return ",index=off,userxattr"
	}
	return "," + index + "," + redirect + ",metacopy=off"
}

// mark returns the name of an attribute of overlayfs.
func (m Mount) mark(name string) string {
	if m.UserXattr {
		return "user.overlay." + name
	}
	return "trusted.overlay." + name
}

func removeXattr(path, name string) error {
	err := unix.Lremovexattr(path, name)
	if err != nil && err != unix.ENODATA && err != unix.ENOTSUP {
		return fmt.Errorf("remove attribute %s of %s: %w", name, path, err)
	}
	return nil
}
