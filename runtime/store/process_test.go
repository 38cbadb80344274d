package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bake.build/bake/platforms"
)

// childEnv makes this test program act on the store that the variable names,
// as childMode says.
const (
	childEnv  = "BAKE_STORE_CHILD"
	childMode = "BAKE_STORE_CHILD_MODE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir, os.Getenv(childMode)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(dir, mode string) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	switch mode {
	case "put":
		for i := range 3 {
			name := fmt.Sprint("shared-", i)
			_, filled, err := s.Put(ctx, Meta{Key: key(name)}, nil, slowFill(name))
			if err != nil {
				return err
			}
			if filled {
				fmt.Println(name)
			}
		}
		return s.Close()
	case "fill":
		// Until killed: layers, temporary directories and records.
		for i := 0; ; i++ {
			name := fmt.Sprint("layer-", i%40)
			fmt.Println(name)
			if _, _, err := s.Put(ctx, Meta{Key: key(name), Name: name}, nil, slowFill(name)); err != nil {
				return err
			}
			if _, _, err := s.TempDir("x"); err != nil {
				return err
			}
			if err := s.PutRecord("history", "last", []byte(fmt.Sprintf(`{"n":%d}`, i))); err != nil {
				return err
			}
			if i%5 == 4 {
				if err := s.Drop(key(name)); err != nil {
					return err
				}
			}
			if i%7 == 6 {
				if err := s.Sync(); err != nil {
					return err
				}
			}
		}
	case "hold":
		// Holds the lock of a filling, a lease and a staging directory.
		if _, err := s.Lease(key("leased")); err != nil {
			return err
		}
		_, _, err := s.Put(ctx, Meta{Key: key("held")}, nil, func(dir string) (platforms.Made, error) {
			fmt.Println("filling")
			time.Sleep(time.Minute)
			return platforms.Made{}, nil
		})
		return err
	}
	return fmt.Errorf("unknown mode %q", mode)
}

func slowFill(name string) func(dir string) (platforms.Made, error) {
	return func(dir string) (platforms.Made, error) {
		for i := range 20 {
			if err := tree(dir, map[string]string{fmt.Sprintf("d%d/f", i): strings.Repeat(name, 100)}); err != nil {
				return platforms.Made{}, err
			}
			time.Sleep(200 * time.Microsecond)
		}
		return platforms.Made{Ref: name}, nil
	}
}

func startChild(t *testing.T, dir, mode string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childMode+"="+mode)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the child ended by itself")
	}
}

func TestProcessesFillOnce(t *testing.T) {
	dir := t.TempDir()
	filled := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		cmd, lines := startChild(t, dir, "put")
		wg.Go(func() {
			for lines.Scan() {
				mu.Lock()
				filled[lines.Text()]++
				mu.Unlock()
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range 3 {
		if n := filled[fmt.Sprint("shared-", i)]; n != 1 {
			t.Errorf("layer %d was filled %d times", i, n)
		}
	}
	s, _ := open(t, dir)
	whole(t, s)
	clean(t, s)
}

func TestGoroutinesFillOnce(t *testing.T) {
	s, _ := open(t, t.TempDir())
	var fills, waits, told atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, filled, err := s.Put(context.Background(), Meta{Key: key("a")}, func() { waits.Add(1) }, func(dir string) (platforms.Made, error) {
				fills.Add(1)
				time.Sleep(50 * time.Millisecond)
				return platforms.Made{}, nil
			})
			if err != nil {
				t.Error(err)
			}
			if filled {
				told.Add(1)
			}
		})
	}
	wg.Wait()
	if fills.Load() != 1 || told.Load() != 1 || waits.Load() > 7 || waits.Load() == 0 {
		t.Errorf("%d fills, %d told of it, %d waited", fills.Load(), told.Load(), waits.Load())
	}
}

// TestKilledFillers kills a busy process at random moments.
func TestKilledFillers(t *testing.T) {
	dir := t.TempDir()
	for range 30 {
		cmd, lines := startChild(t, dir, "fill")
		for range 1 + rand.IntN(4) {
			if !lines.Scan() {
				t.Fatal("the child does nothing")
			}
		}
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		kill(t, cmd)
		s, warned := open(t, dir)
		clean(t, s)
		whole(t, s)
		if v, err := s.GetRecord("history", "last"); err != nil && !errors.Is(err, ErrMissing) || err == nil && len(v) < 5 {
			t.Errorf("record is %q, %v", v, err)
		}
		if w := warned(); w != "" {
			t.Fatalf("warned: %s", w)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := open(t, dir)
	if list, err := s.List(); err != nil || len(list) == 0 {
		t.Errorf("%d layers are left, %v", len(list), err)
	}
}

// whole verifies all layers.
func whole(t *testing.T, s *Store) {
	t.Helper()
	err := s.Verify(context.Background(), true, func(e Entry, err error) {
		if err != nil {
			t.Errorf("layer %s %s: %v", e.Key.Short(), e.Name, err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// clean checks that no process left anything, when none runs.
func clean(t *testing.T, s *Store) {
	t.Helper()
	for _, name := range []string{stagingName, trashName, leasesName} {
		left, err := os.ReadDir(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(left) != 0 {
			t.Errorf("left in %s: %v", name, left)
		}
	}
}

func TestDeadFillerIsReplaced(t *testing.T) {
	dir := t.TempDir()
	cmd, lines := startChild(t, dir, "hold")
	if !lines.Scan() {
		t.Fatal("the child does not fill")
	}
	s, _ := open(t, dir)
	staging, err := os.ReadDir(filepath.Join(dir, stagingName))
	if err != nil || len(staging) != 1 {
		t.Fatalf("staging of the live process: %v, %v", staging, err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	empty := func(string) (platforms.Made, error) { return platforms.Made{}, nil }
	if _, filled, err := s.Put(ctx, Meta{Key: key("held")}, nil, empty); !errors.Is(err, context.DeadlineExceeded) || filled {
		t.Errorf("put while another fills: %v, filled %v", err, filled)
	}

	put(t, s, "base", "", nil)
	put(t, s, "leased", "base", nil)
	put(t, s, "free", "base", nil)
	p, err := s.Prune(context.Background(), PruneOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Layers) != 1 || p.Layers[0].Name != "free" || p.Kept != 2 {
		t.Errorf("pruned %+v", p)
	}

	waited := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, filled, err := s.Put(context.Background(), Meta{Key: key("held")}, func() { close(waited) }, empty)
		if err == nil && !filled {
			err = errors.New("it was there")
		}
		done <- err
	}()
	<-waited
	kill(t, cmd)
	if err := <-done; err != nil {
		t.Errorf("put after the filler's death: %v", err)
	}

	p, err = s.Prune(context.Background(), PruneOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Layers) != 3 || p.Kept != 0 {
		t.Errorf("pruned %+v after the death of the lease's holder", p)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ = open(t, dir)
	clean(t, s)
}
