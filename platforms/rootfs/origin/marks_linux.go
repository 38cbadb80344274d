package origin

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

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
