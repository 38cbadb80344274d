//go:build unix

package ledger

import (
	"errors"
	"os"
)

// syncDir flushes the names in a directory.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
