package vmdk

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// writeSparse writes the raw disk at path as the growing disk dst.
func writeSparse(t *testing.T, dst, path string) {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := WriteSparse(t.Context(), out, in, filepath.Base(dst), info.Size(), IdentityOf([32]byte{3}), nil); err != nil {
		t.Fatal(err)
	}
}

func readChain(t *testing.T, paths ...string) ([]byte, error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := ReadChain(t.Context(), f, paths, nil); err != nil {
		return nil, err
	}
	return os.ReadFile(f.Name())
}

// TestSparse writes a growing disk, which QEMU reads, puts two of QEMU's disks with
// differences on top of it, and reads them all.
func TestSparse(t *testing.T) {
	path, data := disk(t)
	dir := t.TempDir()
	base := filepath.Join(dir, "disk0-0.vmdk")
	writeSparse(t, base, path)
	if got, err := readChain(t, base); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes of %d: %v", len(got), len(data), err)
	}
	need.Tool(t, "qemu-img", "qemu-io")
	tool(t, "qemu-img", "compare", "-f", "raw", "-F", "vmdk", path, base)
	tool(t, "qemu-img", "check", "-f", "vmdk", base)
	var chain = []string{base}
	for i, write := range []string{"write -P 7 1M 3M", "write -z 2M 1M"} {
		child := filepath.Join(dir, []string{"disk0-0-000001.vmdk", "disk0-0-000002.vmdk"}[i])
		options := []string{"subformat=monolithicSparse", "subformat=monolithicSparse,zeroed_grain=on"}[i]
		tool(t, "qemu-img", "create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", chain[i], "-o", options, child)
		tool(t, "qemu-io", "-f", "vmdk", "-c", write, child)
		chain = append(chain, child)
	}
	want := bytes.Clone(data)
	copy(want[1<<20:], bytes.Repeat([]byte{7}, 1<<20))
	clear(want[2<<20 : 3<<20])
	copy(want[3<<20:], bytes.Repeat([]byte{7}, 1<<20))
	if got, err := readChain(t, chain...); err != nil || !bytes.Equal(got, want) {
		t.Errorf("a chain of three: %d bytes of %d: %v", len(got), len(want), err)
	}
	d, err := Describe(chain[1])
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(d.Parent) != "disk0-0.vmdk" || d.Kind != "monolithicSparse" || d.Size != int64(len(data)) || d.ParentCID != IdentityOf([32]byte{3}).CID {
		t.Errorf("described as %+v", d)
	}
	for _, c := range []struct {
		paths []string
		want  string
	}{
		{chain[1:], "holds the differences to a disk"},
		{[]string{chain[0], chain[2]}, "holds the differences to a disk"},
		{[]string{path}, "is not a VMDK"},
		{nil, "a chain without a disk"},
	} {
		if _, err := readChain(t, c.paths...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.paths, err, c.want)
		}
	}
}

// FuzzExtent reads whatever claims to be a growing disk.
func FuzzExtent(f *testing.F) {
	l := layoutOf(1 << 20)
	b := append(l.header(), make([]byte, int(l.firstGrain+grainSectors)*Sector)...)
	copy(b[Sector:], "# Disk DescriptorFile\nCID=00000001\nparentCID=ffffffff\nRW 2048 SPARSE \"x.vmdk\"\n")
	grains := make([]uint32, 16)
	grains[3] = uint32(l.firstGrain)
	copy(b[l.second*Sector:], l.directoryAt(l.second, grains))
	f.Add(b[:len(b)-Sector])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 20 && bytes.HasPrefix(b, []byte("KDMV")) {
			clear(b[15:20]) // disks of at most 64 MiB, whose grains are looked at one by one
			b[14] &= 1
		}
		path := filepath.Join(t.TempDir(), "x.vmdk")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(path + ".raw")
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		_ = ReadChain(t.Context(), out, []string{path}, nil) // which must not panic
	})
}
