package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"bake.build/bake/platforms"
)

func TestDefaultDir(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: the places are those of XDG")
	}
	tests := []struct {
		bake, xdg, home string
		want            string
	}{
		{"/a", "/b", "/c", "/a"},
		{"", "/b", "/c", "/b/bake"},
		{"", "relative", "/c", "/c/.cache/bake"},
		{"", "", "/c", "/c/.cache/bake"},
		{"", "", "", "/var/cache/bake"},
	}
	for _, test := range tests {
		t.Setenv("BAKE_CACHE_DIR", test.bake)
		t.Setenv("XDG_CACHE_HOME", test.xdg)
		t.Setenv("HOME", test.home)
		if test.home == "" && os.Geteuid() != 0 {
			if _, err := DefaultDir(); err == nil {
				t.Error("an ordinary user without a home has a cache")
			}
			continue
		}
		if got, err := DefaultDir(); err != nil || got != test.want {
			t.Errorf("%+v: %s, %v", test, got, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"another version": {map[string]string{"version": "bake store 99\n"}, "version"},
		"not a store":     {map[string]string{"photo.jpg": "x"}, "photo.jpg"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := tree(dir, test.files); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("open: %v", err)
			}
		})
	}
	dir := t.TempDir()
	if err := tree(dir, map[string]string{"ledger/b/owner": ""}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err != nil {
		t.Errorf("open beside a ledger: %v", err)
	}
}

func TestPutThatFails(t *testing.T) {
	boom := errors.New("boom")
	ctx, cancel := context.WithCancel(context.Background())
	tests := map[string]struct {
		fill func(dir string) (platforms.Made, error)
		want error
	}{
		"error": {func(dir string) (platforms.Made, error) {
			return platforms.Made{}, errors.Join(boom, tree(dir, map[string]string{"a/b": ""}))
		}, boom},
		"canceled": {func(dir string) (platforms.Made, error) {
			cancel()
			return platforms.Made{}, tree(dir, map[string]string{"a/b": ""})
		}, context.Canceled},
		"not a directory": {func(dir string) (platforms.Made, error) {
			return platforms.Made{}, errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600))
		}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, _ := open(t, t.TempDir())
			c := context.Background()
			if test.want == context.Canceled {
				c = ctx
			}
			_, filled, err := s.Put(c, Meta{Key: key("a")}, nil, test.fill)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !filled {
				t.Errorf("filled %v, %v", filled, err)
			}
			if s.Has(key("a")) {
				t.Error("the layer is there")
			}
			left, err := os.ReadDir(s.session.dir)
			if err != nil || len(left) != 1 {
				t.Errorf("left in staging: %v, %v", left, err)
			}
			locks, err := os.ReadDir(filepath.Join(s.dir, locksName))
			if err != nil || len(locks) != 0 {
				t.Errorf("left of locks: %v, %v", locks, err)
			}
			put(t, s, "a", "", nil)
		})
	}
}

func TestPutThatPanics(t *testing.T) {
	s, _ := open(t, t.TempDir())
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		_, _, _ = s.Put(context.Background(), Meta{Key: key("a")}, nil, func(string) (platforms.Made, error) { panic("bug") })
	}()
	put(t, s, "a", "", nil)
}

func TestHost(t *testing.T) {
	s, _ := open(t, t.TempDir())
	var h platforms.Host = s.Host(Lent{})
	dir, remove, err := h.TempDir("over/lay")
	if err != nil {
		t.Fatal(err)
	}
	if err := tree(dir, map[string]string{"a/b": ""}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := remove(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
	if _, _, err := h.TempDir("left"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	clean(t, s)
}

func TestRecords(t *testing.T) {
	s, warned := open(t, t.TempDir())
	for _, name := range []string{"", ".", "../../x", "a/b", strings.Repeat("long", 1000), "ümlaut\x00"} {
		value := `{"of":` + "1}"
		if err := s.PutRecord("history", name, []byte(" { \"of\": 1 }\n")); err != nil {
			t.Fatal(err)
		}
		if v, err := s.GetRecord("history", name); err != nil || string(v) != value {
			t.Errorf("record %q is %q, %v", name, v, err)
		}
		if _, err := s.GetRecord("tests", name); !errors.Is(err, ErrMissing) {
			t.Errorf("record %q of another kind: %v", name, err)
		}
		path, err := s.recordPath("history", name)
		if err != nil {
			t.Fatal(err)
		}
		if err := flip(path); err != nil {
			t.Fatal(err)
		}
		if _, err := s.GetRecord("history", name); !errors.Is(err, ErrMissing) && name != strings.Repeat("long", 1000) {
			t.Errorf("damaged record %q: %v", name, err)
		}
		for range 2 {
			if err := s.DeleteRecord("history", name); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.GetRecord("history", name); !errors.Is(err, ErrMissing) {
			t.Errorf("deleted record %q: %v", name, err)
		}
	}
	if warned() == "" {
		t.Error("nothing was said of damaged records")
	}
	for _, kind := range []string{"", "..", "a/b"} {
		if err := s.PutRecord(kind, "x", []byte("1")); err == nil {
			t.Errorf("kind %q is taken", kind)
		}
	}
	if err := s.PutRecord("k", "x", []byte("{")); err == nil {
		t.Error("a value that is not JSON is taken")
	}
}

func FuzzDecodeBlob(f *testing.F) {
	good, err := encodeBlob("n", []byte(`{"a":[1,null]}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := decodeBlob(b); err == nil {
			if _, err := encodeBlob("n", v); err != nil {
				t.Fatalf("%q decodes to %q: %v", b, v, err)
			}
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	good, err := encodeRecord(record{Format: format, Key: key("a").String(), Meta: Meta{Name: "n", Kind: "k"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := decodeRecord(b, key("a")); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
	})
}
