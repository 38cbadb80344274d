//go:build unix

package qmp

import (
	"os"
	"syscall"
)

// rightsOf returns the control message that carries a descriptor of f.
func rightsOf(f *os.File) ([]byte, error) { return syscall.UnixRights(int(f.Fd())), nil }
