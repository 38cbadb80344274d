package archive_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"bake.build/bake/platforms/rootfs/archive"
)

// TestUmask unpacks an archive that does not name its directories, as one that
// a step writes, for a user whose new files are private.
func TestUmask(t *testing.T) {
	dst := t.TempDir()
	defer unix.Umask(unix.Umask(0o077))
	if err := archive.Unpack(t.Context(), dst, stream(t, file("a/b/f")), unowned); err != nil {
		t.Fatal(err)
	}
	d, err := archive.MkdirAll(dst, "c/d")
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	for _, name := range []string{"a", "a/b", "a/b/f", "c", "c/d"} {
		if fi, err := os.Stat(filepath.Join(dst, name)); err != nil || fi.Mode().Perm() != 0o755 {
			t.Errorf("%s: mode %v, %v, want 0755", name, fi.Mode(), err)
		}
	}
}
