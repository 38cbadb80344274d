package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"
)

func TestWritable(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, ok := range []string{dir, filepath.Join(dir, "a/b/c")} {
		if err := writable(ok); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	if err := writable(file); err == nil || !strings.Contains(err.Error(), "is a file") {
		t.Errorf("a file: %v", err)
	}
	need.Root(t)
	if err := unix.Mount("none", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, 0)
	if err := writable(filepath.Join(dir, "out")); err == nil || !strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("a read-only file system: %v", err)
	}
}
