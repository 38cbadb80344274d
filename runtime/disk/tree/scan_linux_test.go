package tree

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestDataSize(t *testing.T) {
	const block = 1 << 16 // no file system of note has larger ones
	for name, c := range map[string]struct {
		size  int64
		data  map[int64]int // places and sizes of data
		least int64
		most  int64
	}{
		"empty":       {0, nil, 0, 0},
		"a hole":      {1 << 20, nil, 0, 0},
		"no hole":     {3 * block, map[int64]int{0: 3 * block}, 3 * block, 3 * block},
		"two islands": {1 << 30, map[int64]int{1 << 20: 10, 1<<30 - 1: 1}, 11, 2 * block},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(c.size); err != nil {
				t.Fatal(err)
			}
			for at, n := range c.data {
				if _, err := f.WriteAt(bytes.Repeat([]byte("x"), n), at); err != nil {
					t.Fatal(err)
				}
			}
			if n, err := dataSize(path, c.size); err != nil || n < c.least || n > c.most {
				t.Errorf("%d bytes of data, %v, want %d to %d", n, err, c.least, c.most)
			}
		})
	}
}
