package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// TestDigestOfLarge holds what the digest of a large file is: that of its pieces that
// are not zero, be the others holes or written. 15 TB of holes cost nothing.
func TestDigestOfLarge(t *testing.T) {
	const size = largeFile + 5
	digest := func(t *testing.T, size int64, content map[int64]string) [32]byte {
		t.Helper()
		dir := t.TempDir()
		f, err := os.Create(filepath.Join(dir, "f"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			t.Skipf("SKIP: the file system of the temporary directory has no file of %d bytes: %v", size, err)
		}
		for at, text := range content {
			if _, err := f.WriteAt([]byte(text), at); err != nil {
				t.Fatal(err)
			}
		}
		m, err := NewManifest(context.Background(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return m.Files[1].Digest
	}
	want := func(size int64, content map[int64]string, at ...int64) (d [32]byte) {
		h := sha256.New()
		for _, n := range at {
			piece := make([]byte, min(64<<10, size-n<<16))
			for off, text := range content {
				if off>>16 == n {
					copy(piece[off&0xffff:], text)
				}
			}
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
			h.Write(piece)
		}
		h.Sum(d[:0])
		return d
	}
	content := map[int64]string{70000: "a", 81000: "b", 1 << 29: "c", size - 1: "d"}
	d := digest(t, size, content)
	if d != want(size, content, 1, 1<<13, 1<<14) {
		t.Error("the digest is another one")
	}
	written := map[int64]string{66000: string(make([]byte, 3000)), 1<<29 + 200000: string(make([]byte, 300000)), 300000: "\x00"}
	for at, text := range content {
		written[at] = text
	}
	if digest(t, size, written) != d {
		t.Error("zeros that are written change the digest")
	}
	for name, other := range map[string]map[int64]string{
		"another place": {70000: "a", 81000: "b", 1<<29 + 1: "c", size - 1: "d"}, "another piece": {70000: "a", 81000: "b", 1 << 30: "d", 1<<29 + 65536: "c"},
	} {
		if digest(t, size, other) == d {
			t.Errorf("%s does not change the digest", name)
		}
	}
	end := map[int64]string{15 << 40 / 2: "x"}
	if digest(t, 15<<40, end) != want(15<<40, end, 15<<40/2>>16) {
		t.Error("the digest of 15 TiB is another one")
	}
}
