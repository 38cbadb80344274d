package qemu

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// TestCompressedDisks imports one disk as each of the compressors writes it.
func TestCompressedDisks(t *testing.T) {
	need.Tool(t, "qemu-img", "gzip", "xz", "zstd", "bzip2")
	dir := t.TempDir()
	raw := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(raw, echoDisk(), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, host: host{dir: t.TempDir()}}
	w.driver = w.open()
	for _, tool := range []string{"gzip", "xz", "zstd", "bzip2"} {
		packed, err := exec.Command(tool, "-c", raw).Output()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "disk."+tool)
		if err := os.WriteFile(path, packed, 0o600); err != nil {
			t.Fatal(err)
		}
		layer := w.imported(path)
		again := filepath.Join(dir, tool+".raw")
		if out, err := exec.Command("qemu-img", "convert", "-O", "raw", filepath.Join(layer.Dir, diskName(0)), again).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if got, err := os.ReadFile(again); err != nil || !bytes.Equal(got, echoDisk()) {
			t.Errorf("%s: the disk differs: %v", tool, err)
		}
		// One that ends too early is not a shorter disk.
		if err := os.Truncate(path, int64(len(packed)/2)); err != nil {
			t.Fatal(err)
		}
		_, err = w.driver.Import(t.Context(), platforms.Origin{Kind: "disk", Paths: map[string]string{"disk": path}}, w.layerDir(), platformtest.TestLog{T: t})
		if err == nil {
			t.Errorf("%s: half a file is taken", tool)
		}
	}
}

// TestUntouched exports a disk on which nothing boots as it came, at once.
func TestUntouched(t *testing.T) {
	need.Tool(t, "qemu-img")
	dir := t.TempDir()
	path := filepath.Join(dir, "data.raw")
	disk := make([]byte, 4<<20)
	copy(disk[1<<20:], "data")
	disk[510], disk[511] = 0x55, 0xaa
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, host: host{dir: t.TempDir()}}
	w.driver = w.open()
	layer := w.imported(path)
	dst := filepath.Join(dir, "out.raw")
	if err := w.driver.Disk(t.Context(), []platforms.Layer{layer}, dst, platformtest.TestLog{T: t}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, disk) {
		t.Errorf("the disk differs: %v", err)
	}
}
