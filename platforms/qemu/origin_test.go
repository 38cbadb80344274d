package qemu

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
)

// TestCompressedDisks imports one disk as each of the compressors writes it.
func TestCompressedDisks(t *testing.T) {
	need.Tool(t, "qemu-img", "gzip", "xz", "zstd", "bzip2")
	dir := t.TempDir()
	raw := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(raw, echoDisk(), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, host: host{t.TempDir()}}
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
		_, err = w.driver.Import(t.Context(), platforms.Origin{Kind: "disk", Paths: map[string]string{"disk": path}}, w.layerDir(), testSink{t})
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
	w := &world{t: t, host: host{t.TempDir()}}
	w.driver = w.open()
	layer := w.imported(path)
	dst := filepath.Join(dir, "out.raw")
	if err := w.driver.Disk(t.Context(), []platforms.Layer{layer}, dst, testSink{t}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, disk) {
		t.Errorf("the disk differs: %v", err)
	}
}

// TestFilesOfInstallers asks for what http serves and reads back what cd_files holds:
// a folder, a file, and text of the definition.
func TestFilesOfInstallers(t *testing.T) {
	need.Tool(t, "bsdtar")
	dir := t.TempDir()
	for name, text := range map[string]string{"folder/sub/a.txt": "a", "folder/b.txt": "b", "ks.cfg": "kickstart"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	paths := []string{filepath.Join(dir, "folder"), filepath.Join(dir, "ks.cfg")}
	made := platforms.Files{"user-data": "#cloud-config\n", "meta-data": ""}
	want := map[string]string{"sub/a.txt": "a", "b.txt": "b", "ks.cfg": "kickstart", "user-data": "#cloud-config\n", "meta-data": ""}
	s, err := serve(paths, made)
	if err != nil {
		t.Fatal(err)
	}
	base := strings.Replace(s.address, "10.0.2.2", "127.0.0.1", 1)
	for name, text := range want {
		if got, status := get(t, base+name); status != http.StatusOK || got != text {
			t.Errorf("%s: %d %q", name, status, got)
		}
	}
	for _, name := range []string{"", "sub", "sub/../../ks.cfg", "other"} {
		if got, status := get(t, base+name); status != http.StatusNotFound {
			t.Errorf("%q: %d %q", name, status, got)
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	cd := filepath.Join(dir, "cd.iso")
	if err := writeCD(cd, "cidata", paths, made); err != nil {
		t.Fatal(err)
	}
	for name, text := range want {
		if out, err := exec.Command("bsdtar", "-xOf", cd, name).Output(); err != nil || string(out) != text {
			t.Errorf("%s on the CD: %q, %v", name, out, err)
		}
	}
	if _, err := filesOf(paths, platforms.Files{"ks.cfg": ""}); err == nil {
		t.Error("two files of one name are taken")
	}
}

func get(t *testing.T, url string) (text string, status int) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), r.StatusCode
}
