//go:build unix

package build

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// mayWrite returns an error where this process may not write into dir, or nobody
// may.
func mayWrite(dir string) error {
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}
