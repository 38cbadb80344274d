package overlay

import (
	"fmt"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/mountns"
)

// Use mounts the tree over the directory base in a mount namespace of its own
// and calls use with the tree's path. The tree is there only on the goroutine
// that runs use and for processes that this goroutine starts, and nothing is
// left to unmount. No program of the tree gains rights from its file.
func (m Mount) Use(base string, use func(dir string) error) error {
	return mountns.Run(func() error {
		cwd, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open working directory: %w", err)
		}
		defer unix.Close(cwd)
		m.NoSUID = true
		dir, err := m.At(base, nil)
		if err != nil {
			return err
		}
		if err := unix.Fchdir(cwd); err != nil {
			return fmt.Errorf("change back to the working directory: %w", err)
		}
		return use(dir)
	})
}
