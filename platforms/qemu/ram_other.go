//go:build !linux

package qemu

import (
	"context"
	"errors"
	"os"
)

// canKeepMemory says that the memory of machines can be shared with QEMU. That
// takes memory with a descriptor, as only Linux has it.
const canKeepMemory = false

var errNoRAM = errors.New("the memory of a machine can be kept on Linux only")

func newRAM(int64) (*os.File, error) { return nil, errNoRAM }

func dup(*os.File) (*os.File, error) { return nil, errNoRAM }

func copySparse(_ context.Context, _, _ *os.File, _ int) error { return errNoRAM }

func updateSparse(_, _ *os.File) error { return errNoRAM }

func openKept(string) (*os.File, error) { return nil, errNoRAM }

func takeAway(_, _ string) (bool, error) { return false, errNoRAM }
