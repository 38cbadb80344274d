//go:build !unix

package ssh

import "os"

// watchSize would call resize when the terminal's size changes; here nothing
// tells of that.
func watchSize(*os.File, func(height, width int) error) (stop func()) { return func() {} }
