package export

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/runtime/disk/tree"
)

func TestCheckHoles(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int64{"a": 3 << 30, "b": 5 << 30} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("data"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, name), size); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "b"), filepath.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	tr, err := tree.Scan(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkHoles(tr, 8<<30, "why"); err != nil {
		t.Errorf("8 GiB of holes, one file by two names: %v", err)
	}
	if err := checkHoles(tr, 7<<30, "why"); err == nil || !strings.HasPrefix(err.Error(), "/b has 4 GiB of holes, and the format has room for 7 of all files: why") {
		t.Errorf("error %v", err)
	}
}
