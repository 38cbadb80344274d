//go:build unix

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// isUnreadable reports whether the disk could not give back what it holds.
// File systems say EIO of content, and of an inode or a directory that they
// find damaged EBADMSG (a checksum) or EUCLEAN (its structure).
func isUnreadable(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EBADMSG) || errors.Is(err, badStructure)
}

// isNotDir reports whether a path leads through something that is not a
// directory.
func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// planted fails if path belongs to another user, and lies in a directory where
// any user may have put it.
func planted(path string) error {
	var in, of syscall.Stat_t
	if err := syscall.Lstat(path, &of); err != nil {
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	above := filepath.Dir(path)
	if err := syscall.Stat(above, &in); err != nil {
		return &os.PathError{Op: "stat", Path: above, Err: err}
	}
	const othersWrite = 0o002
	if in.Mode&othersWrite != 0 && of.Uid != 0 && int(of.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, and anybody may have put it into %s: set BAKE_CACHE_DIR to a directory of your own", path, of.Uid, above)
	}
	return nil
}

// isReadOnly reports whether the store lies where nothing can be written.
func isReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }
