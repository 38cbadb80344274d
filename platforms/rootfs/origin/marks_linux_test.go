package origin

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"
)

func TestRefuseMarks(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	if err := unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	if err := refuseMarks(dir); err != nil {
		t.Errorf("/dev/null: %v", err)
	}
	if err := unix.Mknod(filepath.Join(dir, "mark"), unix.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
	if err := refuseMarks(dir); err == nil || !strings.HasPrefix(err.Error(), "/mark: character device 0:0") {
		t.Errorf("device 0:0: %v", err)
	}
}
