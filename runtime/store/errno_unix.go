//go:build unix

package store

import (
	"errors"
	"syscall"
)

// isNotDir reports whether a path leads through something that is not a
// directory.
func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
