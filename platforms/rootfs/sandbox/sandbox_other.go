//go:build !linux

package sandbox

import "os"

// Main is the init. Elsewhere than on Linux nothing starts one.
func Main() { os.Exit(1) }
