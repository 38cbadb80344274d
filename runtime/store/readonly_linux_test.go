package store

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"

	"bake.build/bake/platforms"
)

// TestReadOnly uses a store that cannot be written to: what is there serves a
// build, and what is not fails for that reason.
func TestReadOnly(t *testing.T) {
	need.Root(t)
	need.Tool(t, "mount", "umount")
	dir := t.TempDir()
	s, _ := open(t, dir)
	put(t, s, "a", "", map[string]string{"f": "x"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "--bind", dir, dir)
	t.Cleanup(func() { command(t, "umount", "-l", dir) })
	command(t, "mount", "-o", "remount,bind,ro", dir)

	s, warned := open(t, dir)
	release, err := s.Lease(key("a"), key("b"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(context.Background(), key("a")); err != nil {
		t.Error(err)
	}
	_, _, err = s.Put(t.Context(), Meta{Key: key("b")}, nil, func(string) (platforms.Made, error) { return platforms.Made{}, nil })
	if !errors.Is(err, unix.EROFS) {
		t.Errorf("put: %v", err)
	}
	s.StatCache().changed = true
	if err := errors.Join(release(), s.Close()); err != nil {
		t.Error(err)
	}
	if warned() != "" {
		t.Errorf("warned: %s", warned())
	}
}

// TestLocksOfTheDead holds that opening a store removes what killed processes
// have locked, and nothing of the living.
func TestLocksOfTheDead(t *testing.T) {
	dir := t.TempDir()
	living, _ := open(t, dir)
	if _, err := living.Lease(key("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := living.CacheDir("packages"); err != nil {
		t.Fatal(err)
	}
	unlock, err := living.Lock(t.Context(), key("a"), nil)
	if err != nil {
		t.Fatal(err)
	}
	held, err := filepath.Glob(filepath.Join(dir, "l[oe]*s/*"))
	if err != nil || len(held) != 4 {
		t.Fatalf("%v, %v", held, err)
	}
	err = tree(dir, map[string]string{
		"locks/" + key("dead").String(): "", "locks/caches-123": "", "leases/DEAD.keys": key("dead").String() + "\n", "leases/DEAD.lock": "",
	})
	if err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	left, err := filepath.Glob(filepath.Join(dir, "l[oe]*s/*"))
	if err != nil || len(left) != len(held) {
		t.Errorf("left: %v, want %v (%v)", left, held, err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}
