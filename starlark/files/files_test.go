package files

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFind takes what is named, and of directories what is Starlark and no one else's.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.star", "bake.mod", "b.txt", "lib/c.star", "testdata/d.star", ".git/e.star", "bake.vendor/x/f.star"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("lib", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		paths []string
		match func(string) bool
		want  []string
	}{
		{[]string{"."}, IsStarlark, []string{"a.star", "bake.mod", "lib/c.star"}},
		{[]string{"lib", ".", "a.star"}, IsDefinition, []string{"a.star", "lib/c.star"}},
		{[]string{"b.txt", "testdata"}, IsDefinition, []string{"b.txt", "testdata/d.star"}},
		{[]string{"link"}, IsDefinition, []string{"link/c.star"}},
		{nil, IsDefinition, nil},
	} {
		found, err := Find(dir, c.paths, c.match)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, path := range found {
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, filepath.ToSlash(rel))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q: -want +got:\n%s", c.paths, diff)
		}
	}
	if _, err := Find(dir, []string{"none", "a.star"}, IsDefinition); err == nil {
		t.Error("a path that is not there is no error")
	}
}
