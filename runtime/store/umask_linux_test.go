package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUmask opens a store as a user whose new files are private: tools that
// drop their privileges must reach staging and caches all the same.
func TestUmask(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	defer unix.Umask(unix.Umask(0o077))
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CacheDir("packages"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		".": 0o711, stagingName: 0o711, cacheName: 0o711, cacheName + "/packages": 0o755, layersName: 0o700,
	} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v, want %v", name, fi.Mode(), err, want)
		}
	}
}
