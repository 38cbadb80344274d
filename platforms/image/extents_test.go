package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/vmx"
)

// A disk in pieces, as VMware's desktop programs and Packer's boxes have it, is read
// whole, from a folder and from a box.
func TestDiskInPieces(t *testing.T) {
	need.Tool(t, "qemu-img")
	settings, err := vmx.Encode(described())
	if err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(raw, bytes.Repeat([]byte("bake disk "), 1<<17), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(raw, 3<<30); err != nil { // two pieces
		t.Fatal(err)
	}
	for _, kind := range []string{"twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "monolithicFlat"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			if out, err := exec.Command("qemu-img", "convert", "-O", "vmdk", "-o", "subformat="+kind, raw, filepath.Join(dir, "disk.vmdk")).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if err := os.WriteFile(filepath.Join(dir, "web.vmx"), settings, 0o644); err != nil {
				t.Fatal(err)
			}
			checkDisk(t, dir, raw)
			if kind != "twoGbMaxExtentSparse" {
				return
			}
			files := []string{"metadata.json", `{"provider":"vmware_desktop"}`}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				data, err := os.ReadFile(filepath.Join(dir, e.Name()))
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, e.Name(), string(data))
			}
			checkDisk(t, makeBox(t, files...), raw)
		})
	}
}

// checkDisk compares the first disk of the machine at path with a raw one.
func checkDisk(t *testing.T, path, raw string) {
	t.Helper()
	m, err := OpenOrigin(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	disk, err := m.Disk(context.Background(), 0, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(disk, ""); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "compare", "-f", "qcow2", "-F", "raw", disk, raw).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// What a description says of its pieces never leads to another file.
func TestHostileDescriptions(t *testing.T) {
	settings, err := vmx.Encode(described())
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, kind, extent, want string }{
		{"absolute", "monolithicFlat", `RW 8 FLAT "` + secret + `" 0`, "which is not beside it"},
		{"above", "monolithicFlat", `RW 8 FLAT "../secret" 0`, "which is not beside it"},
		{"Windows", "monolithicFlat", `RW 8 FLAT "..\secret" 0`, "which is not beside it"},
		{"link", "monolithicFlat", `RW 8 FLAT "link" 0`, "is not there"},
		{"nothing", "twoGbMaxExtentSparse", `RW 8 SPARSE "nothing" `, "is not there"},
		{"device", "fullDevice", `RW 8 FLAT "/dev/sda" 0`, `is the description of a VMDK`},
		{"short", "monolithicFlat", `RW 80 FLAT "piece" 0`, "is cut short"},
		{"offset", "monolithicFlat", `RW 8 FLAT "piece" 9223372036854775807`, "makes no sense"},
		{"sectors", "monolithicFlat", `RW 9223372036854775807 FLAT "piece" 0`, "makes no sense"},
		{"negative", "monolithicFlat", `RW -8 FLAT "piece" 0`, "makes no sense"},
		{"a description as a piece", "twoGbMaxExtentSparse", `RW 8 SPARSE "piece"`, "is not a piece of 8 sectors"},
		{"kind", "monolithicFlat", `RW 8 RDM "piece" 0`, `an extent of the kind "RDM"`},
		{"differences", "monolithicFlat", "parentFileNameHint=\"" + secret + "\"\nRW 8 FLAT \"piece\" 0", `is the description of a VMDK`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			text := fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=%q\n%s\n", c.kind, c.extent)
			for name, data := range map[string]string{"web.vmx": string(settings), "disk.vmdk": text, "piece": strings.Repeat("x", 4096)} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(secret, filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			m, err := OpenOrigin(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			path, err := m.Disk(context.Background(), 0, t.TempDir(), nil)
			if err == nil {
				_, err = Open(path, "")
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
