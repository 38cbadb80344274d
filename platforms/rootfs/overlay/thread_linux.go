package overlay

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Use mounts the tree over the directory base in a mount namespace of its own
// and calls use with the tree's path. The namespace belongs to one thread, on
// which use runs; it ends with that thread, whatever happens, so nothing is
// left to unmount. Processes that use starts share the namespace.
func (m Mount) Use(base string, use func(dir string) error) error {
	result := make(chan error, 1)
	go func() {
		done := false
		defer func() {
			if !done { // a panic or Goexit in use, such as a test's FailNow
				result <- fmt.Errorf("mount layers: the reader of the tree did not return")
			}
		}()
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		err := m.enter(base, use)
		done = true
		result <- err
	}()
	return <-result
}

func (m Mount) enter(base string, use func(dir string) error) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make mount namespace: %w", err)
	}
	if err := Private(); err != nil {
		return err
	}
	cwd, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open working directory: %w", err)
	}
	defer unix.Close(cwd)
	dir, err := m.At(base, nil)
	if err != nil {
		return err
	}
	if err := unix.Fchdir(cwd); err != nil {
		return fmt.Errorf("change back to the working directory: %w", err)
	}
	return use(dir)
}

// Private keeps mounts made in this namespace from those it was copied from.
func Private() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}
