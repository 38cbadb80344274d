package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"

	"bake.build/bake/platforms"
)

// TestClosed opens a store whose directories were open to other users, as an
// older bake made them, with a umask that opens everything.
func TestClosed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	defer unix.Umask(unix.Umask(0))
	old, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.CacheDir("packages"); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	open := []string{".", stagingName, cacheName, cacheName + "/packages", layersName, recordsName}
	for _, name := range open {
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CacheDir("packages"); err != nil {
		t.Fatal(err)
	}
	tmp, _, err := s.TempDir("tree")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(open, trashName, locksName, leasesName) {
		if fi, err := os.Stat(filepath.Join(dir, path)); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v, %v", path, fi.Mode(), err)
		}
	}
	_, _, err = s.Put(t.Context(), Meta{Key: key("a")}, nil, func(data string) (platforms.Made, error) {
		for _, dir := range []string{tmp, filepath.Dir(tmp), filepath.Dir(data), s.layerDir(key("a"))} {
			if fi, err := os.Stat(dir); err == nil && fi.Mode().Perm() != 0o700 {
				t.Errorf("%s: mode %v", dir, fi.Mode())
			}
		}
		return platforms.Made{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPlanted opens a store that another user has put where everybody may.
func TestPlanted(t *testing.T) {
	need.Root(t)
	above := t.TempDir()
	dir := filepath.Join(above, "store")
	if err := errors.Join(os.Chmod(above, 0o777|os.ModeSticky), os.Mkdir(dir, 0o755), os.Chown(dir, 12345, 12345)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("open: %v", err)
	}
}
