package overlay

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
	// volatile spares the layer every fsync of a package manager: the store
	// makes a layer durable once, when it is whole. Before Linux 5.10 it is unknown.
	err = unix.Mount("bake", "tree", "overlay", flags, options+",volatile")
	if err == unix.EINVAL || m.Upper == "" && err != nil {
		err = unix.Mount("bake", "tree", "overlay", flags, options)
	}
	if err != nil {
		return "", fmt.Errorf("mount overlay of %d layers: %w", len(m.Lowers), err)
	}
	return filepath.Join(base, "tree"), nil
}

func (m Mount) options(skeleton bool) (string, error) {
	var lowers []string
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
	options := "lowerdir=" + strings.Join(lowers, ":") + ",redirect_dir=off,metacopy=off,index=off,xino=off"
	if m.UserXattr {
		options = "lowerdir=" + strings.Join(lowers, ":") + ",index=off,xino=off,userxattr"
	}
	if m.Upper == "" {
		return options, nil
	}
	// The mark of a volatile mount says that its data may not be on disk. The
	// upper directory never outlives the boot of the host, so it may go.
	if err := os.RemoveAll(filepath.Join(m.Work, "work", "incompat")); err != nil {
		return "", err
	}
	for name, dir := range map[string]string{"upper": m.Upper, "work": m.Work} {
		if err := os.Symlink(dir, name); err != nil {
			return "", err
		}
	}
	return options + ",upperdir=upper,workdir=work", nil
}
