//go:build unix

package eval

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"bake.build/bake/internal/regular"
)

// TestNameFromPipe holds that a pipe called BAKE_ROOT is refused, and not waited for.
func TestNameFromPipe(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "BAKE_ROOT"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := &Project{Root: dir}
	if _, err := p.rootName(); !errors.Is(err, regular.ErrNotRegular) {
		t.Errorf("error %v", err)
	}
}
