//go:build !linux

package rootfs

import (
	"errors"

	"bake.build/bake/platforms"
)

var errLinux = errors.New("the platform rootfs needs Linux: run bake there, or in a virtual machine")

func open(Options, platforms.Host) (platforms.Driver, error) { return nil, errLinux }

// Child turns a process that bake started as the inside of a machine into it.
// Elsewhere than on Linux there are none.
func Child() {}

// Enter gives this process the rights that machines need.
func Enter() error { return errLinux }
