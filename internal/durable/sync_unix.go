//go:build unix

package durable

import (
	"errors"
	"os"
)

// SyncDir flushes the names in a directory.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
