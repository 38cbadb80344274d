// Package lockfile locks by name among processes: a lock is a file that is
// flock'ed, so that the kernel releases it when its holder dies.
//
// A lock file may be removed by its holder. Whoever locks a file that was
// removed or replaced meanwhile notices it, since the path then names another
// file, and tries again; so a name is never held twice.
package lockfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/gofrs/flock"
)

// poll is how often a held lock is tried again. flock has no wait that could
// be given up.
const poll = 20 * time.Millisecond

// A Lock is a held lock. It is released by Unlock or Remove, or by the kernel
// at the end of the process.
type Lock struct {
	path string
	f    *flock.Flock
}

// Try locks the file path, made when missing in a directory that exists. It
// returns nil when another holder has it, in this process or in another.
func Try(path string) (*Lock, error) {
	for {
		f := flock.New(path)
		ok, err := f.TryLock()
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, errors.Join(err, f.Close()))
		}
		if !ok {
			return nil, f.Close()
		}
		same, err := current(f, path)
		if err == nil && same {
			return &Lock{path: path, f: f}, nil
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

// current reports whether path still names the file that f holds open.
func current(f *flock.Flock, path string) (bool, error) {
	held, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return os.SameFile(held, named), nil
}

// Acquire is Try that waits until the lock is free or ctx is done. waiting, if
// not nil, is called once if there is a wait.
func Acquire(ctx context.Context, path string, waiting func()) (*Lock, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l, err := Try(path)
		if l != nil || err != nil {
			return l, err
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(poll):
		}
	}
}

// Unlock releases the lock and leaves its file.
func (l *Lock) Unlock() error { return l.f.Close() }

// Remove removes the lock's file and releases the lock. Where a file that is
// open cannot be removed, it stays.
func (l *Lock) Remove() error {
	// The order matters: after the release another holder may have the file.
	err := os.Remove(l.path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		err = nil
	}
	return errors.Join(err, l.f.Close())
}
