package vmdk

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// disk makes a raw disk with some data, whose last grain is not whole.
func disk(t *testing.T) (path string, data []byte) {
	t.Helper()
	data = make([]byte, 70<<20+Sector)
	r := rand.NewChaCha8([32]byte{7})
	for _, at := range []int{0, grainSize - 1, 5 << 20, 40 << 20, len(data) - 700} {
		_, _ = r.Read(data[at : at+700]) // which cannot fail
	}
	path = filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, data
}

// read returns what a stream holds.
func read(t *testing.T, stream []byte) ([]byte, error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := ReadStream(t.Context(), bytes.NewReader(stream), f, func(int64, int64) {})
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return os.ReadFile(f.Name())
}

func written(t *testing.T, path string, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteStream(t.Context(), &b, "disk.vmdk", path, int64(size), IdentityOf([32]byte{1}), func(int64) {}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestStream(t *testing.T) {
	path, data := disk(t)
	stream := written(t, path, len(data))
	if got, err := read(t, stream); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d: %v", len(got), len(data), err)
	}
	t.Run("of qemu-img", func(t *testing.T) {
		need.Tool(t, "qemu-img")
		other := filepath.Join(t.TempDir(), "other.vmdk")
		if out, err := exec.Command("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", path, other).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		stream, err := os.ReadFile(other)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := read(t, stream); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes of %d: %v", len(got), len(data), err)
		}
	})
	change := func(at int, b ...byte) []byte {
		c := bytes.Clone(stream)
		copy(c[at:], b)
		return c
	}
	first := overhead * Sector
	for name, c := range map[string]struct {
		stream []byte
		want   string
	}{
		"nothing":       {nil, "it ends too early"},
		"another kind":  {change(0, 'Q'), "does not begin as one"},
		"flat":          {change(10, 0), "not a stream of compressed grains"},
		"no sectors":    {change(12, 0, 0, 0, 0), "it has 0 sectors"},
		"cut":           {stream[:len(stream)/2], "it ends too early"},
		"no end":        {stream[:len(stream)-Sector], "it ends too early"},
		"grain outside": {change(first, 0, 0, 0, 0xff), "a grain is for sector"},
		"long grain":    {change(first+8, 0xff, 0xff, 0xff), "a grain has"},
		"damaged grain": {change(first+12, 0, 0), "the grain of sector 0"},
		"marker":        {change(first, make([]byte, 12)...), "marker"},
	} {
		if _, err := read(t, c.stream); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func FuzzReadStream(f *testing.F) {
	f.Add([]byte("KDMV"))
	small := make([]byte, 2*grainSize)
	small[5] = 1
	path := filepath.Join(f.TempDir(), "disk")
	if err := os.WriteFile(path, small, 0o600); err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if err := WriteStream(f.Context(), &b, "d", path, int64(len(small)), Identity{}, func(int64) {}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, stream []byte) {
		if _, err := ReadStream(t.Context(), bytes.NewReader(stream), discard{}, func(done, size int64) {
			if done > size {
				t.Fatalf("%d of %d bytes", done, size)
			}
		}); err == nil && len(stream) < Sector {
			t.Error("a disk of nothing")
		}
	})
}

// discard takes everything.
type discard struct{}

func (discard) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
