package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"bake.build/bake/platforms"
)

// debianLike makes a tree of the shape of a Debian base: 10,000 files, 300 MB.
func debianLike(b *testing.B, dir string, files, bytes int) {
	b.Helper()
	data := make([]byte, bytes)
	if _, err := rand.Read(data); err != nil {
		b.Fatal(err)
	}
	for i := range files {
		d := filepath.Join(dir, "usr", "share", fmt.Sprint(i/100), fmt.Sprint(i%100/10))
		if err := os.MkdirAll(d, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, fmt.Sprint("file-", i)), data[i%100:], 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkManifest(b *testing.B) {
	for name, size := range map[string][2]int{"base": {9000, 33_000}, "delta": {30, 5000}} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			debianLike(b, dir, size[0], size[1])
			b.SetBytes(int64(size[0] * size[1]))
			for b.Loop() {
				if _, err := NewManifest(context.Background(), dir); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	dir := b.TempDir()
	s, _ := open(b, filepath.Join(b.TempDir(), "store"))
	data := filepath.Join(dir, dataName)
	if err := os.Mkdir(data, 0o755); err != nil {
		b.Fatal(err)
	}
	debianLike(b, data, 9000, 1000)
	for b.Loop() {
		if _, err := s.seal(context.Background(), dir, Meta{Key: key("a")}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	dir := b.TempDir()
	s, _ := open(b, dir)
	_, _, err := s.Put(context.Background(), Meta{Key: key("a")}, nil, func(dir string) (platforms.Made, error) {
		debianLike(b, dir, 9000, 33_000)
		return platforms.Made{}, nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			clear(s.checked)
			if _, err := s.Get(context.Background(), key("a")); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Get(context.Background(), key("a")); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkStatCache(b *testing.B) {
	s, _ := open(b, b.TempDir())
	dir := b.TempDir()
	debianLike(b, dir, 10_000, 100)
	m, err := NewManifest(context.Background(), dir)
	if err != nil {
		b.Fatal(err)
	}
	infos := map[string]os.FileInfo{}
	s.stats.now = later
	for _, f := range m.Files {
		if f.Type != Regular {
			continue
		}
		path := filepath.Join(dir, f.Path)
		if infos[path], err = os.Stat(path); err != nil {
			b.Fatal(err)
		}
		if _, err := s.stats.HashFile(path, infos[path]); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.stats.Save(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c := newStatCache(s)
		for path, info := range infos {
			if _, err := c.HashFile(path, info); err != nil {
				b.Fatal(err)
			}
		}
	}
}
