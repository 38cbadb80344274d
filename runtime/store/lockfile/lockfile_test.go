package lockfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestOneHolder has holders that remove the file and holders that leave it.
func TestOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var held, turns atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				l, err := Try(path)
				if err != nil {
					t.Error(err)
					return
				} else if l == nil {
					continue
				}
				if n := held.Add(1); n != 1 {
					t.Errorf("%d holders at once", n)
				}
				turns.Add(1)
				held.Add(-1)
				release := l.Unlock
				if i%2 == 0 {
					release = l.Remove
				}
				if err := release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if turns.Load() == 0 {
		t.Error("nobody ever had the lock")
	}
}

func TestAcquire(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Try(path)
	if err != nil || first == nil {
		t.Fatal(first, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	waits := 0
	if l, err := Acquire(ctx, path, func() { waits++ }); l != nil || !errors.Is(err, context.DeadlineExceeded) || waits != 1 {
		t.Errorf("acquire of a held lock: %v, %v, waited %d times", l, err, waits)
	}
	got := make(chan error)
	go func() {
		l, err := Acquire(context.Background(), path, nil)
		if err == nil {
			err = l.Remove()
		}
		got <- err
	}()
	time.Sleep(30 * time.Millisecond)
	if err := first.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is left: %v", err)
	}
	if _, err := Try(filepath.Join(t.TempDir(), "no", "directory")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("lock in a directory that is not there: %v", err)
	}
}
