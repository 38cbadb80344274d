package modroot

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAbove(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"bake.mod", "a/b/bake.mod", "a/b/c/x", "d/bake.mod/x"} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{"": "", "a": "", "a/b": "a/b", "a/b/c/x": "a/b", "a/b/none": "a/b", "d/bake.mod/x": "", "bake.mod": ""} {
		if want != "" {
			want = filepath.Join(root, filepath.FromSlash(want))
		}
		if got := Above(root, filepath.Join(root, filepath.FromSlash(path))); got != want {
			t.Errorf("Above(%q) = %q, want %q", path, got, want)
		}
	}
}
