package qcow2

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

const mib = 1 << 20

// A piece of a disk: noise, which does not become smaller, or text, which does.
type piece struct {
	at, length int64
	noise      bool
}

func disk(t *testing.T, size int64, pieces []piece) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := rand.NewChaCha8([32]byte{7})
	for _, p := range pieces {
		b := make([]byte, p.length)
		_, _ = r.Read(b) // never fails
		if !p.noise {
			for i := range b {
				b[i] = "some words\n"[i%11] + b[i/100*100]&1
			}
		}
		if _, err := f.WriteAt(b, p.at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// TestStream has qemu-img judge images and compare them with their disks.
func TestStream(t *testing.T) {
	need.Tool(t, "qemu-img")
	for name, d := range map[string]struct {
		size   int64
		pieces []piece
	}{
		"empty":              {mib, nil},
		"nothing":            {0, nil},
		"text":               {4 * mib, []piece{{0, 3 * mib, false}}},
		"noise":              {4 * mib, []piece{{mib, 3 * mib, true}}},
		"both in turns":      {9 * mib, []piece{{0, mib, true}, {mib + 5, mib, false}, {3 * mib, 100, true}, {5*mib - 7, 2 * mib, true}, {8 * mib, mib, false}}},
		"a sector more":      {mib + 512, []piece{{mib - 100, 612, false}}},
		"less than a sector": {mib + 100, []piece{{mib + 50, 50, true}}},
		"far apart":          {3 << 40, []piece{{100, mib, false}, {700 * mib, 2 * mib, true}, {1 << 40, 10, false}, {3<<40 - mib, mib, false}}},
		"a table's bounds":   {2 << 30, []piece{{512*mib - 10, 20, false}, {1024*mib - clusterSize, clusterSize, true}, {1536 * mib, 10, false}}},
	} {
		for with, name := range map[Compression]string{Zstd: name, Zlib: name + ", zlib"} {
			t.Run(name, func(t *testing.T) { stream(t, d.size, d.pieces, with) })
		}
	}
}

func stream(t *testing.T, size int64, pieces []piece, with Compression) {
	path := disk(t, size, pieces)
	var told int64
	i, err := Plan(t.Context(), path, size, with, func(done int64) { told = done })
	if err != nil {
		t.Fatal(err)
	}
	if told > size || told == 0 && len(pieces) > 0 {
		t.Errorf("told of %d bytes of %d", told, size)
	}
	out := path + ".qcow2"
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := i.Write(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != i.Size() {
		t.Errorf("%d bytes, planned were %d, %v", info.Size(), i.Size(), err)
	}
	for _, args := range [][]string{{"check", "-f", "qcow2", out}, {"compare", "-f", "raw", "-F", "qcow2", path, out}} {
		if said, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
			t.Errorf("qemu-img %s: %v: %s", args[0], err, said)
		} else if args[0] == "check" && !strings.HasPrefix(string(said), "No errors") {
			t.Errorf("qemu-img: %s", said)
		}
	}
}

// TestPlace wants each cluster of a file of any size to have a reference count.
func TestPlace(t *testing.T) {
	for _, plain := range []int64{0, 1, blockEntries - 4, blockEntries - 3, blockEntries, 2*blockEntries - 5, blockEntries*tableEntries - tableEntries, blockEntries * tableEntries, 3 * blockEntries * tableEntries} {
		i := &Image{size: plain * clusterSize, plain: plain}
		i.place()
		tables, blocks := i.refBlocks-i.refTable, i.level1-i.refBlocks
		if blocks*blockEntries < i.end || (blocks-1)*blockEntries >= i.end || tables*tableEntries < blocks || i.compressed-i.data != plain {
			t.Errorf("%d clusters: %d tables of %d blocks for %d clusters", plain, tables, blocks, i.end)
		}
	}
}

// TestWriteAgain wants the same bytes each time, and an error for a disk that has changed.
func TestWriteAgain(t *testing.T) {
	path := disk(t, 8*mib, []piece{{0, 2 * mib, true}, {3 * mib, 4 * mib, false}})
	i, err := Plan(t.Context(), path, 8*mib, Zstd, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	var a, b bytes.Buffer
	for _, w := range []io.Writer{&a, &b} {
		if err := i.Write(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the second time, the bytes are others")
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte("a"), 10*clusterSize), 4*mib); err != nil {
		t.Fatal(err)
	}
	if err := i.Write(t.Context(), io.Discard); !errors.Is(err, errChanged) {
		t.Errorf("the disk has changed: %v", err)
	}
}
