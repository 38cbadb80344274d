//go:build unix

package store

import (
	"errors"
	"syscall"
)

// isUnreadable reports whether the disk could not give back what it holds.
func isUnreadable(err error) bool { return errors.Is(err, syscall.EIO) }

// isNotDir reports whether a path leads through something that is not a
// directory.
func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
