package mountns

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Run calls f in a mount namespace of its own and returns what it returns. The
// namespace belongs to one thread, on which f runs; it ends with that thread.
// Processes that f starts share the namespace. Only root may, of the kernel or
// of a user namespace.
func Run(f func() error) error {
	result := make(chan error, 1)
	go func() {
		done := false
		defer func() {
			if !done { // a panic or Goexit in f, such as a test's FailNow
				result <- errors.New("mount: what uses the mounts did not return")
			}
		}()
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// Go parks the main thread for ever where it ends others, and the mounts
			// would stay. While it is held here, f gets another one.
			err := Run(f)
			runtime.UnlockOSThread()
			done = true
			result <- err
			return
		}
		err := enter()
		if err == nil {
			err = f()
		}
		done = true
		result <- err
	}()
	return <-result
}

func enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make mount namespace: %w", err)
	}
	return Private()
}

// Private keeps mounts made in this namespace from those it was copied from.
func Private() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}
