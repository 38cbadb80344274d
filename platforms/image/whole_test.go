package image

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// TestCheckWhole cuts images that qemu-img has written, and disks that sfdisk has
// divided, to a part of their length.
func TestCheckWhole(t *testing.T) {
	need.Tool(t, "qemu-img", "sfdisk")
	dir := t.TempDir()
	const size = 10<<20 + 512
	data := make([]byte, size)
	chacha := rand.NewChaCha8([32]byte{})
	if _, err := chacha.Read(data[2<<20:]); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(dir, "data.raw")
	if err := os.WriteFile(raw, data, 0o600); err != nil {
		t.Fatal(err)
	}
	images := map[string]string{}
	for name, args := range map[string][]string{
		"qcow2":      {"-O", "qcow2"},
		"qcow2 zlib": {"-c", "-O", "qcow2"},
		"vmdk":       {"-O", "vmdk"},
		"stream":     {"-O", "vmdk", "-o", "subformat=streamOptimized"},
		"vdi":        {"-O", "vdi"},
		"vdi fixed":  {"-O", "vdi", "-o", "static=on"},
		"vhd":        {"-O", "vpc"},
	} {
		images[name] = filepath.Join(dir, name)
		if out, err := exec.Command("qemu-img", append(append([]string{"convert"}, args...), "-f", "raw", raw, images[name])...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	for name, table := range map[string]string{"gpt": "label: gpt\n,3M\n,,\n", "mbr": "label: dos\n,3M\n,,\n"} {
		images[name] = filepath.Join(dir, name)
		if err := os.WriteFile(images[name], make([]byte, 10<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sfdisk", "-q", images[name])
		cmd.Stdin = strings.NewReader(table)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sfdisk: %v\n%s", err, out)
		}
	}
	for name, path := range images {
		t.Run(name, func(t *testing.T) {
			if err := wholeAt(t, path); err != nil {
				t.Errorf("the whole image: %v", err)
			}
			fi, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range []int64{fi.Size() / 5, fi.Size() / 2, fi.Size() - 600<<10} {
				if err := os.Truncate(path, part); err != nil {
					t.Fatal(err)
				}
			}
			if err := wholeAt(t, path); err == nil {
				t.Error("the image that was cut short passes")
			} else {
				t.Log(err)
			}
		})
	}
}

// wholeAt is what an origin does with an image.
func wholeAt(t *testing.T, path string) error {
	t.Helper()
	n, err := Open(path, "")
	if err != nil {
		return err
	}
	return CheckWhole(t.Context(), n)
}
