package origin

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/userns"
)

// stripOverlay takes away the marks of overlayfs, which a layer that is to be the
// first of a chain must not have: they would hide files of it, or lead elsewhere.
func stripOverlay(root string) error {
	prefix := userns.OverlayPrefix()
	buf := make([]byte, 64<<10) // the kernel's limit
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() && !e.Type().IsRegular() {
			return err
		}
		n, err := unix.Llistxattr(path, buf)
		if err == unix.ENOTSUP {
			return nil
		} else if err != nil {
			return fmt.Errorf("clean %s: %w", path, err)
		}
		for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			if err := unix.Lremovexattr(path, name); err != nil && err != unix.ENODATA {
				return fmt.Errorf("clean %s: %w", path, err)
			}
		}
		return nil
	})
}

// refuseMarks fails where the tree has a character device 0:0, which would be
// the mark of a removed file in a layer, and so not be seen.
func refuseMarks(tree string) error {
	return filepath.WalkDir(tree, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeCharDevice == 0 {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if st := info.Sys().(*syscall.Stat_t); st.Rdev == 0 {
			return fmt.Errorf("%s: character device 0:0: overlayfs takes it for the mark of a removed file, so it cannot be part of a layer", strings.TrimPrefix(path, tree))
		}
		return nil
	})
}
