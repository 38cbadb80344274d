//go:build unix

package durable

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// SyncDir flushes the names in a directory.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// keepOwner gives f the owner of another file. Only root may do so; for others the
// owner stays that of the process.
func keepOwner(f *os.File, other fs.FileInfo) error {
	stat, ok := other.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if err := f.Chown(int(stat.Uid), int(stat.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
