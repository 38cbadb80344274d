//go:build !linux

package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// removeTree removes path with all that is below, except the files keep at
// its top, changing modes that forbid it.
func removeTree(path string, keep ...string) error {
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		if d != nil && d.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if len(keep) == 0 {
		return os.RemoveAll(path)
	}
	names, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range names {
		if slices.Contains(keep, e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(path, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
