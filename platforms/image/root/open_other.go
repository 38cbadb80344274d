//go:build !linux

package root

import (
	"context"
	"errors"
)

// errNoLinux says where disks can be opened.
var errNoLinux = errors.New("the files of a disk can be read on Linux only")

// Check says why this process cannot open a disk.
func Check() error { return errNoLinux }

// Open fails: see Check.
func Open(context.Context, string, string, func(string) error) error { return errNoLinux }
