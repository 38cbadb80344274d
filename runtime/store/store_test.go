package store

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

func key(name string) plan.Key { return sha256.Sum256([]byte(name)) }

// open opens a store whose warnings are returned by the function.
func open(t testing.TB, dir string) (*Store, func() string) {
	t.Helper()
	warned := make(chan string, 1000)
	s, err := Open(dir, WithWarn(func(m string) { warned <- m }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, func() string {
		var all []string
		for {
			select {
			case m := <-warned:
				all = append(all, m)
			default:
				return strings.Join(all, "\n")
			}
		}
	}
}

// put fills the layer name with files, by path; a path that ends in a slash is
// a directory.
func put(t testing.TB, s *Store, name, parent string, files map[string]string) *Entry {
	t.Helper()
	meta := Meta{Key: key(name), Kind: "test", Name: name}
	if parent != "" {
		meta.Parent = key(parent).String()
	}
	e, filled, err := s.Put(context.Background(), meta, nil, func(dir string) (platforms.Made, error) {
		return platforms.Made{Ref: "ref-" + name}, tree(dir, files)
	})
	if err != nil {
		t.Fatal(err)
	}
	if !filled {
		t.Fatalf("layer %s was there already", name)
	}
	return e
}

func tree(dir string, files map[string]string) error {
	for path, content := range files {
		full := filepath.Join(dir, path)
		if strings.HasSuffix(path, "/") {
			if err := os.MkdirAll(full, 0o755); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func TestPutAndGet(t *testing.T) {
	dir := t.TempDir()
	s, warned := open(t, dir)
	e := put(t, s, "a", "", map[string]string{"etc/hosts": "x", "-first": "y", "empty/": ""})
	if e.Files != 5 || e.Size != 2 || e.Ref != "ref-a" || e.Digest == "" || e.Created.IsZero() {
		t.Errorf("entry is %+v", e.Meta)
	}
	again, warnedAgain := open(t, dir)
	got, err := again.Get(context.Background(), key("a"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Dir != e.Dir || got.Digest != e.Digest || got.Ref != e.Ref {
		t.Errorf("got %+v, put %+v", got, e)
	}
	m, err := ReadManifest(got)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range m.Files {
		paths = append(paths, f.Path)
	}
	if list := strings.Join(paths, " "); list != ". -first empty etc etc/hosts" {
		t.Errorf("manifest lists %s", list)
	}
	if m.Digest() != e.Digest {
		t.Errorf("manifest has digest %s, entry %s", m.Digest(), e.Digest)
	}
	if w := warned() + warnedAgain(); w != "" {
		t.Errorf("warned: %s", w)
	}
}
