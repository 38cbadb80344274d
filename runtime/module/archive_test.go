package module

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bake.build/bake/runtime/store"
	"bake.build/bake/starlark/module"
)

// golden is a module with what a tree can have. A name that ends in * is executable,
// and a content that begins with -> is a link.
var golden = map[string]string{
	"bake.mod":             "module(\"acme.example/golden\")\n",
	"golden.star":          "def golden(m):\n    return m\n",
	"files/etc/motd":       "hello\n",
	"files/run.sh*":        "#!/bin/sh\n",
	"files/etc/issue":      "->motd",
	"files/name with ü.md": "",
	"lib/a.star":           "A = 1\n",
	"lib-b/a.star":         "B = 1\n",
}

func newFetcher(t *testing.T) *Fetcher {
	t.Helper()
	return &Fetcher{Store: openStore(t, t.TempDir()), Warn: func(text string) { t.Log(text) }}
}

func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// writeDir writes files as golden describes them.
func writeDir(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		name, exec := strings.CutSuffix(name, "*")
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		target, link := strings.CutPrefix(content, "->")
		mode := os.FileMode(0o640)
		if exec {
			mode = 0o750
		}
		err := error(nil)
		if link {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tarOf writes files as golden describes them below the directory top.
func tarOf(t *testing.T, top string, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: top + strings.TrimSuffix(name, "*"), Mode: 0o664, Size: int64(len(files[name])), Typeflag: tar.TypeReg}
		if strings.HasSuffix(name, "*") {
			h.Mode = 0o775
		}
		if target, ok := strings.CutPrefix(files[name], "->"); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, files[name]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// serve serves bytes under any path and returns the archive's source.
func serve(t *testing.T, name string, b []byte) module.Source {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(b))
	}))
	t.Cleanup(server.Close)
	return archiveAt(t, server.URL+"/"+name, b)
}

func archiveAt(t *testing.T, url string, b []byte) module.Source {
	t.Helper()
	return parse(t, fmt.Sprintf("%s#sha256=%x", url, sha256.Sum256(b)))
}

func parse(t *testing.T, text string) module.Source {
	t.Helper()
	src, err := module.ParseSource(text)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// nothingKept fails where the store has a tree, or a file of one in the making.
func nothingKept(t *testing.T, f *Fetcher) {
	t.Helper()
	cache, err := f.Store.CacheDir(cacheName)
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{filepath.Join(cache, "*"), filepath.Join(cache, ".lock*"), filepath.Join(f.Store.Dir(), "staging", "*", "*module*")} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	}
}

func TestFetchArchive(t *testing.T) {
	want, err := Verify(t.Context(), writeDir(t, t.TempDir(), golden))
	if err != nil {
		t.Fatal(err)
	}
	f := newFetcher(t)
	src := serve(t, "golden.tar.gz", gzipped(t, tarOf(t, "golden-1.4/", golden)))
	got, err := f.Fetch(t.Context(), src, "v1.4.0", "")
	if err != nil || got.Digest != want {
		t.Fatalf("Fetch = %+v, %v; want the digest %s", got, err, want)
	}
	if d, err := Verify(t.Context(), got.Dir); err != nil || d != want {
		t.Errorf("Verify = %s, %v; want %s", d, err, want)
	}
	offline := &Fetcher{Store: f.Store, Offline: true}
	for _, locked := range []module.Digest{"", want} {
		if again, err := offline.Fetch(t.Context(), src, "v1.4.0", locked); err != nil || again.Dir != got.Dir {
			t.Errorf("offline, locked to %q: %+v, %v; want %+v", locked, again, err, got)
		}
	}
	if _, err := offline.Fetch(t.Context(), src, "v1.5.0", ""); err == nil || !strings.Contains(err.Error(), "offline") {
		t.Errorf("offline, another version: %v", err)
	}
}

// TestMismatch asks for the files of a lock, and gets others.
func TestMismatch(t *testing.T) {
	f := newFetcher(t)
	src := serve(t, "golden.tar", tarOf(t, "", golden))
	want := module.Digest(fmt.Sprintf("sha256:%064d", 1))
	_, err := f.Fetch(t.Context(), src, "v1.4.0", want)
	m := (*MismatchError)(nil)
	if !errors.As(err, &m) || m.Want != want || m.Got.Check() != nil || m.Version != "v1.4.0" {
		t.Fatalf("error %v, want a MismatchError", err)
	}
	nothingKept(t, f)

	src.SHA256 = strings.Repeat("0", 64)
	if _, err := f.Fetch(t.Context(), src, "v1.4.0", ""); err == nil || !strings.Contains(err.Error(), "not the archive that was asked for") {
		t.Errorf("error %v, want one of the archive's digest", err)
	}
	nothingKept(t, f)
}

// TestDamaged changes a tree in the store: it is never used again.
func TestDamaged(t *testing.T) {
	src := serve(t, "golden.tar", tarOf(t, "", golden))
	for name, damage := range map[string]func(dir string) error{
		"changed": func(dir string) error { return os.WriteFile(filepath.Join(dir, "golden.star"), []byte("evil"), 0o644) },
		"added":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "evil.star"), nil, 0o644) },
		"removed": func(dir string) error { return os.Remove(filepath.Join(dir, "golden.star")) },
		"link":    func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "evil")) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFetcher(t)
			tree, err := f.Fetch(t.Context(), src, "v1.4.0", "")
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(tree.Dir); err != nil {
				t.Fatal(err)
			}
			warned := ""
			offline := &Fetcher{Store: f.Store, Offline: true, Warn: func(text string) { warned = text }}
			if got, err := offline.Fetch(t.Context(), src, "v1.4.0", tree.Digest); err == nil || !strings.Contains(warned, "was changed") {
				t.Errorf("Fetch of a damaged tree = %+v, %v; warned %q", got, err, warned)
			}
			later := &Fetcher{Store: f.Store}
			if got, err := later.Fetch(t.Context(), src, "v1.4.0", tree.Digest); err != nil || got.Digest != tree.Digest {
				t.Errorf("Fetch afterwards = %+v, %v", got, err)
			}
		})
	}
}

// TestNested has modules below a module: neither archives nor commits nor publications
// have their files, and a digest covers all that stands in a directory.
func TestNested(t *testing.T) {
	outer := map[string]string{"bake.mod": "", "a.star": "", "a/b/c.star": "", "a/l": "->b/c.star"}
	all := maps.Clone(outer)
	for _, name := range []string{"a/b/n/bake.mod", "a/b/n/x/y.star", "n/bake.mod", "n/m/bake.mod", "n/x.star"} {
		all[name] = ""
	}
	want := digestOfDir(t, writeDir(t, t.TempDir(), outer))
	if got := digestOfDir(t, writeDir(t, t.TempDir(), all)); got == want {
		t.Error("the digest of a directory says nothing of modules in it")
	}
	f := newForge(t)
	f.commit("all", all)
	r := newRegistry(t)
	dir := writeDir(t, t.TempDir(), all)
	if p, err := newFetcher(t).Publish(t.Context(), dir, "a.example/b", r.source("all"), "main"); err != nil || p.Digest != want || len(p.Files) != len(outer) {
		t.Errorf("Publish = %+v, %v; want the digest %s", p, err, want)
	}
	for name, src := range map[string]module.Source{"git": f.source("all"), "oci": r.source("all"), "archive": serve(t, "a.tar", tarOf(t, "top/", all)), "zip": serve(t, "a.zip", zipOf(t, all))} {
		got, err := newFetcher(t).Fetch(t.Context(), src, "main", "")
		if err != nil || got.Digest != want || digestOfDir(t, got.Dir) != want {
			t.Errorf("%s: Fetch = %+v, %v; want the digest %s", name, got, err, want)
		}
		if _, err := os.Lstat(filepath.Join(got.Dir, "n")); err == nil {
			t.Errorf("%s: a module below is in the tree", name)
		}
	}
}

// zipOf writes files as golden describes them.
func zipOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &zip.FileHeader{Name: strings.TrimSuffix(name, "*"), Method: zip.Deflate}
		h.SetMode(0o644)
		if strings.HasSuffix(name, "*") {
			h.SetMode(0o755)
		}
		content, link := strings.CutPrefix(files[name], "->")
		if link {
			h.SetMode(os.ModeSymlink | 0o777)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
