package root

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bake.build/bake/internal/need"
)

// espTree makes a tree with the names that are found on EFI system partitions.
func espTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var entries strings.Builder
	for i := range 100 { // a directory of more than one cluster
		fmt.Fprintf(&entries, "loader/entries/0123456789abcdef-6.1.%d.conf\n", i)
	}
	for name := range strings.FieldsSeq("EFI/BOOT/BOOTX64.EFI EFI/ubuntu/grub.cfg EFI/systemd/systemd-bootx64.efi loader/loader.conf " +
		"Kernel-6.1.efi empty.txt Größe.txt " + entries.String()) {
		data := []byte(strings.Repeat(name+"\n", 20))
		if strings.HasSuffix(name, ".efi") {
			data = bytes.Repeat(data, 300)
		}
		if name == "empty.txt" {
			data = nil
		}
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Date(2024, 2, 29, 12, 30, 58, 0, time.UTC)
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// contents maps the files of a tree to what is in them.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if e.IsDir() {
			m[rel] = "directory"
			return err
		}
		b, err := os.ReadFile(p)
		m[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// run runs a program of mtools or dosfstools.
func run(t testing.TB, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "MTOOLS_SKIP_CHECK=1", "LC_ALL=C.UTF-8", "TZ=UTC")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// TestExtractFAT reads what dosfstools and mtools wrote.
func TestExtractFAT(t *testing.T) {
	need.Tool(t, "mkfs.vfat", "mcopy")
	tree := espTree(t)
	for bits, kib := range map[string]string{"12": "2048", "16": "20000", "32": "70000"} {
		t.Run("FAT"+bits, func(t *testing.T) {
			dir := t.TempDir()
			image := filepath.Join(dir, "esp")
			run(t, "mkfs.vfat", "-C", "-F", bits, "-n", "UEFI", "-i", "1234abcd", image, kib)
			names, err := filepath.Glob(tree + "/*")
			if err != nil {
				t.Fatal(err)
			}
			run(t, "mcopy", append([]string{"-i", image, "-s", "-m"}, append(names, "::/")...)...)
			f, err := os.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(dir, "out")
			if err := extractFAT(io.NewSectionReader(f, 0, info.Size()), out, 0o077); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(contents(t, tree), contents(t, out)); diff != "" {
				t.Error(diff)
			}
			file, err := os.Stat(filepath.Join(out, "EFI/systemd/systemd-bootx64.efi"))
			if err != nil || file.Mode().Perm() != 0o700 || file.ModTime().UTC().Format(time.DateTime) != "2024-02-29 12:30:58" {
				t.Errorf("%v, %v", file.Mode(), file.ModTime().UTC())
			}
			all, err := volumes(f, info.Size())
			if err != nil || len(all) != 1 || all[0].fs != "vfat" || all[0].uuid != "1234-ABCD" || all[0].label != "UEFI" {
				t.Errorf("%+v, %v", all, err)
			}
		})
	}
}

// FuzzFAT has damaged file systems end in an error, within memory and inside of
// the directory.
func FuzzFAT(f *testing.F) {
	b := make([]byte, 64<<10)
	copy(b[11:], []byte{0, 2, 1, 1, 0, 1, 16, 0, 128, 0, 0xf8, 1, 0})
	copy(b[512:], []byte{0xf8, 0xff, 0xff, 0xff, 0xff, 0xff})
	copy(b[1024:], "A       EFI\x20\x00")
	b[1024+26], b[1024+28] = 2, 9
	f.Add(b)
	loop := bytes.Clone(b)
	copy(loop[1024:], "SUB        \x10\x00")
	copy(loop[1536:], loop[1024:1056])
	f.Add(loop)
	f.Fuzz(func(t *testing.T, image []byte) {
		dir := t.TempDir()
		err := extractFAT(io.NewSectionReader(bytes.NewReader(image), 0, int64(len(image))), filepath.Join(dir, "out"), 0)
		if err == nil && len(contents(t, filepath.Join(dir, "out"))) == 0 {
			t.Error("no directory")
		}
		names, err := os.ReadDir(dir)
		if err != nil || len(names) > 1 {
			t.Errorf("%v, %v", names, err)
		}
	})
}
