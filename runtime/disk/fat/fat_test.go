package fat

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"bake.build/bake/internal/need"
)

const offset = 1 << 20

func image(t *testing.T, size int64, files []File) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fat")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(offset + size); err != nil {
		t.Fatal(err)
	}
	if err := Write(f, offset, size, Options{ID: 0x1234abcd, Label: "ESP", Time: time.Unix(1700000000, 0)}, files); err != nil {
		t.Fatal(err)
	}
	return path
}

var sample = []File{
	{"EFI/BOOT/BOOTX64.EFI", bytes.Repeat([]byte("grub"), 70001)},
	{"EFI/BOOT/empty.txt", nil},
	{"EFI/debian/GRUB.CFG", []byte("hello\n")},
	{"STARTUP.NSH", bytes.Repeat([]byte("x"), clusterSize)},
}

func TestToolsRead(t *testing.T) {
	need.Tool(t, "fsck.vfat")
	need.Tool(t, "mtype")
	for _, size := range []int64{16 << 20, 32 << 20, 64 << 20} {
		path := image(t, size, sample)
		fsck(t, path, size)
		for _, f := range sample {
			out, err := exec.Command("mtype", "-i", path+"@@1M", "::"+f.Path).Output()
			if err != nil || !bytes.Equal(out, f.Data) {
				t.Errorf("%s: %d bytes of %d, %v", f.Path, len(out), len(f.Data), err)
			}
		}
	}
}

// fsck checks the file system alone: fsck.vfat knows no offsets.
func fsck(t *testing.T, path string, size int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(t.TempDir(), "part")
	if err := os.WriteFile(part, b[offset:offset+size], 0o600); err != nil {
		t.Fatal(err)
	}
	tool, err := exec.LookPath("fsck.vfat")
	if err != nil {
		tool = "/usr/sbin/fsck.vfat"
	}
	if out, err := exec.Command(tool, "-n", "-v", part).CombinedOutput(); err != nil {
		t.Errorf("fsck.vfat: %v\n%s", err, out)
	}
}

func TestErrors(t *testing.T) {
	for name, c := range map[string]struct {
		size  int64
		files []File
	}{
		"too small":  {1 << 20, nil},
		"too large":  {1 << 30, nil},
		"long name":  {16 << 20, []File{{"toolongname", nil}}},
		"odd letter": {16 << 20, []File{{"a b", nil}}},
		"no name":    {16 << 20, []File{{".txt", nil}}},
		"no space":   {16 << 20, []File{{"A", make([]byte, 17<<20)}}},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "fat"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := Write(f, 0, c.size, Options{}, c.files); err == nil {
				t.Error("no error")
			}
		})
	}
}
