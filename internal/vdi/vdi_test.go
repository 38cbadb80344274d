package vdi

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// rawDisk returns a disk with holes, blocks of zeros and blocks that are partly data, and
// an end that is no multiple of a block.
func rawDisk(t *testing.T) (path string, data []byte) {
	t.Helper()
	data = make([]byte, 7*blockSize+1024)
	r := rand.NewChaCha8([32]byte{1})
	for _, span := range [][2]int{{0, 512}, {2*blockSize - 100, 2*blockSize + 100}, {5 * blockSize, 6 * blockSize}, {len(data) - 10, len(data)}} {
		if _, err := r.Read(data[span[0]:span[1]]); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, data
}

func written(t *testing.T, raw string, size int) string {
	t.Helper()
	in, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(t.TempDir(), "disk.vdi")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := Write(t.Context(), out, in, int64(size), [16]byte{1}, [16]byte{2}, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

func readBack(t *testing.T, paths ...string) ([]byte, error) {
	t.Helper()
	raw, err := os.Create(filepath.Join(t.TempDir(), "back.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := ReadChain(t.Context(), raw, paths, nil); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(raw.Name())
	if err != nil {
		t.Fatal(err)
	}
	return data, nil
}

// TestWrite has qemu-img read what is written, and the other way round.
func TestWrite(t *testing.T) {
	need.Tool(t, "qemu-img")
	raw, data := rawDisk(t)
	path := written(t, raw, len(data))
	for _, args := range [][]string{
		{"check", "-f", "vdi", path}, {"compare", "-f", "vdi", "-F", "raw", path, raw},
		{"convert", "-f", "raw", "-O", "vdi", raw, path + ".theirs"},
	} {
		if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
			t.Errorf("qemu-img %s: %v\n%s", args[0], err, out)
		}
	}
	for _, p := range []string{path, path + ".theirs"} {
		if got, err := readBack(t, p); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s is read otherwise than written: %v", p, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 8*blockSize {
		t.Errorf("zeros take room: %v, %v", info, err)
	}
}

// TestHeader has what VirtualBox' vdiValidateHeader and vdiImageReadHeader ask for, which
// qemu-img does not look at.
func TestHeader(t *testing.T) {
	raw, data := rawDisk(t)
	b, err := os.ReadFile(written(t, raw, len(data)))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	const preHeader, header1Plus = 72, 400
	for what, c := range map[string]struct{ at, want uint32 }{
		"size of the header":              {0x48, header1Plus},
		"flags":                           {0x50, 0},
		"place of the map":                {0x154, 1 << 20},
		"place of the data":               {0x158, 2 << 20},
		"sectors of the legacy geometry":  {0x168, 512},
		"blocks":                          {0x180, 8},
		"blocks that are there":           {0x184, 5},
		"logical cylinders":               {preHeader + header1Plus - 16, 0},
		"sectors of the logical geometry": {preHeader + header1Plus - 4, 512},
	} {
		if got := le.Uint32(b[c.at:]); got != c.want {
			t.Errorf("%s: %d, want %d", what, got, c.want)
		}
	}
	if got := le.Uint64(b[0x170:]); got != uint64(len(data)) {
		t.Errorf("the disk has %d bytes, want %d", got, len(data))
	}
	if string(b[0x188:0x18a]) != "\x01\x00" || string(b[0x198:0x19a]) != "\x02\x00" || len(bytes.Trim(b[0x1a8:0x1c8], "\x00")) > 0 {
		t.Errorf("the UUIDs are %x", b[0x188:0x1c8])
	}
}

// differ writes a medium of differences to one with the id parent: entries are those of
// its map, and block n is filled with the byte fill[n].
func differ(t *testing.T, size int64, id, parent byte, entries []uint32, fill ...byte) string {
	t.Helper()
	blocks := int64(len(entries))
	b := header(size, blocks, 2*blockSize, uint32(len(fill)), [16]byte{id}, [16]byte{9})
	binary.LittleEndian.PutUint32(b[kindAt:], kindDiff)
	b[parentAt] = parent
	b = append(b, make([]byte, blockSize-len(b))...)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint32(b, e)
	}
	b = append(b, make([]byte, 2*blockSize-len(b))...)
	for _, c := range fill {
		b = append(b, bytes.Repeat([]byte{c}, blockSize)...)
	}
	path := filepath.Join(t.TempDir(), "diff.vdi")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestChain reads blocks of each medium of a chain, and zeros that hide others.
func TestChain(t *testing.T) {
	raw, data := rawDisk(t)
	base, none := written(t, raw, len(data)), uint32(unallocated)
	first := differ(t, int64(len(data)), 2, 1, []uint32{none, 0, none, 1, none, zero, none, none}, 'a', 'b')
	second := differ(t, int64(len(data)), 3, 2, []uint32{none, none, 0, zero, none, none, none, none}, 'c')
	want := bytes.Clone(data)
	block := func(n int, c byte) { copy(want[n*blockSize:], bytes.Repeat([]byte{c}, blockSize)) }
	block(1, 'a')
	block(2, 'c')
	block(3, 0)
	block(5, 0)
	if got, err := readBack(t, base, first, second); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the chain is read otherwise: %v", err)
	}
	for name, c := range map[string]struct {
		paths []string
		want  string
	}{
		"without its parent": {[]string{first}, "one that is not there"},
		"out of order":       {[]string{base, second}, "not a medium of differences to"},
		"a whole one on top": {[]string{base, base}, "not a medium of differences to"},
		"no file":            {[]string{base, "/nowhere"}, "no such file"},
		"a lost block":       {[]string{base, differ(t, int64(len(data)), 2, 1, []uint32{7, none, none, none, none, none, none, none}, 'a')}, "lacks a block"},
	} {
		if _, err := readBack(t, c.paths...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// FuzzReadHeader has no header lead to sizes that cannot be worked with.
func FuzzReadHeader(f *testing.F) {
	f.Add(header(blockSize, 1, 2*blockSize, 0, [16]byte{1}, [16]byte{2}))
	f.Add([]byte("<<< "))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ReadHeader(bytes.NewReader(b))
		if err == nil && (h.blockSize <= 0 || h.blocks < 0 || h.Size > h.blocks*h.blockSize) {
			t.Errorf("%+v", h)
		}
	})
}
