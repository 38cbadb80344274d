package export

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/vmdk"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk/gpt"
	"bake.build/bake/runtime/plan"
)

// identifiers returns all that tells the files of an artifact from others, by what
// it is.
func identifiers(t *testing.T, dir string) map[string]string {
	t.Helper()
	read := func(name string, at int64, n int) []byte {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if at < 0 {
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			at += info.Size()
		}
		b := make([]byte, n)
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		return b
	}
	disk := read("web.raw", 0, 64<<20)
	table, err := gpt.Read(bytes.NewReader(disk), int64(len(disk)))
	if err != nil {
		t.Fatal(err)
	}
	root := table.Partitions[0]
	ids := map[string]string{
		"GPT disk": table.Disk.String(), "GPT partition": root.ID.String(),
		"file system":   fmt.Sprintf("%x", disk[root.First*gpt.SectorSize+1024+0x68:][:16]),
		"VDI":           fmt.Sprintf("%x", read("web.vdi", 0x188, 16)),
		"VDI, modified": fmt.Sprintf("%x", read("web.vdi", 0x198, 16)),
		"VHD":           fmt.Sprintf("%x", read("web.vhd", -vhdFooter+68, 16)),
		"VHD, growing":  fmt.Sprintf("%x", read("web-dynamic.vhd", 68, 16)),
	}
	for name, file := range map[string]string{"VMDK": "web.vmdk", "VMDK, sparse": "web-sparse.vmdk"} {
		text, _, _ := bytes.Cut(read(file, vmdk.Sector, vmdk.DescSectors*vmdk.Sector), []byte{0})
		for key, form := range map[string]string{
			"CID": `\nCID=([0-9a-f]{8})\n`, "long CID": `\nddb\.longContentID = "([0-9a-f]{32})"\n`,
			"UUID": `\nddb\.uuid\.image = "([0-9a-f-]{36})"\nddb\.uuid\.modification = "0{8}-`,
		} {
			m := regexp.MustCompile(form).FindSubmatch(text)
			if m == nil {
				t.Fatalf("%s: no %s in\n%s", file, key, text)
			}
			ids[name+" "+key] = string(m[1])
		}
		if long := ids[name+" long CID"]; long[24:] != ids[name+" CID"] {
			t.Errorf("%s: %s does not end with %s", name, long, ids[name+" CID"])
		}
	}
	return ids
}

// TestIdentifiers compares the identifiers of all formats of two equal exports with
// those of an export of another layer: none is there twice. Another export of the same
// disk has that disk's, and others in its formats.
func TestIdentifiers(t *testing.T) {
	need.Tool(t, "qemu-img")
	base := platforms.Layer{Key: plan.Key{9}.String(), Dir: t.TempDir()}
	dir := filepath.Join(base.Dir, "fs")
	if err := os.Rename(sampleTree(t), dir); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	if err := os.Mkdir(filepath.Join(empty, "fs"), 0o755); err != nil {
		t.Fatal(err)
	}
	export := func(key, layer plan.Key) map[string]string {
		r := request(t, dir, "raw", "vdi", "vhd", "vhd-dynamic", "vmdk", "vmdk-sparse")
		r.Key, r.Layers = key, []platforms.Layer{base, {Key: layer.String(), Dir: empty}}
		mustRun(t, r)
		return identifiers(t, r.OutDir)
	}
	one, again, other := export(plan.Key{1}, plan.Key{8}), export(plan.Key{1}, plan.Key{8}), export(plan.Key{2}, plan.Key{7})
	for what, id := range export(plan.Key{3}, plan.Key{8}) {
		ofDisk := strings.HasPrefix(what, "GPT") || what == "file system"
		if same := id == one[what]; same != ofDisk {
			t.Errorf("%s of another export of one disk: %s, and %s", what, id, one[what])
		}
	}
	seen := map[string]string{}
	for what, id := range one {
		if again[what] != id {
			t.Errorf("%s: %s, then %s", what, id, again[what])
		}
		for _, id := range []string{id, other[what]} {
			if first, ok := seen[id]; ok {
				t.Errorf("%s of %s and of %s", id, first, what)
			}
			seen[id] = what
		}
	}
}

// TestIdentityOfConverted: the identifiers of a disk that no plan has made follow
// from what is on it.
func TestIdentityOfConverted(t *testing.T) {
	need.Tool(t, "qemu-img")
	dir := t.TempDir()
	at := map[string]struct {
		offset int64
		n      int
	}{"vdi": {0x188, 16}, "vhd": {-vhdFooter + 68, 16}, "vhd-dynamic": {68, 16}, "vmdk": {vmdk.Sector, vmdk.DescSectors * vmdk.Sector}}
	for _, f := range Formats() {
		where, ok := at[f.Name]
		if !ok {
			continue
		}
		var ids []string
		for i, content := range []string{"one", "one", "two"} {
			disk, out := filepath.Join(dir, "disk.raw"), filepath.Join(dir, fmt.Sprint(i)+f.Ext)
			if err := os.WriteFile(disk, append(make([]byte, 4<<20), content+strings.Repeat(" ", 512-3)...), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := Convert(t.Context(), f, disk, out, nil); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			start := (where.offset + int64(len(b))) % int64(len(b))
			id := string(b[start:][:where.n])
			if f.Name == "vmdk" { // its description names the file
				id = strings.ReplaceAll(id, filepath.Base(out), "")
			}
			ids = append(ids, id)
		}
		if ids[0] != ids[1] || ids[0] == ids[2] {
			t.Errorf("%s: %q", f.Name, ids)
		}
	}
}

// TestOddDisk exports the disk of a machine that is not whole MiB.
func TestOddDisk(t *testing.T) {
	need.Tool(t, "qemu-img")
	const size, whole = 7<<20 + 3*512, 8 << 20
	r := request(t, sampleTree(t), "raw", "vhd", "vhd-dynamic", "vmdk", "vdi", "qcow2")
	r.Disk, r.OwnDisk = filepath.Join(t.TempDir(), "disk.raw"), true
	if err := os.WriteFile(r.Disk, bytes.Repeat([]byte("disk"), size/4), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, r)
	raw := filepath.Join(r.OutDir, "web.raw")
	for name, format := range map[string]string{"web.vhd": "vpc", "web-dynamic.vhd": "vpc", "web.vmdk": "vmdk", "web.vdi": "vdi", "web.qcow2": "qcow2"} {
		path := filepath.Join(r.OutDir, name)
		// A larger disk must have zeros where the smaller one has ended.
		if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", format, raw, path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		out, err := exec.Command("qemu-img", "info", "--output=json", "-f", format, path).Output()
		if err != nil {
			t.Fatal(err)
		}
		var info struct {
			Size int64 `json:"virtual-size"`
		}
		if err := json.Unmarshal(out, &info); err != nil {
			t.Fatal(err)
		}
		want := int64(size)
		if format == "vpc" {
			want = whole
		}
		if info.Size != want {
			t.Errorf("%s has %d bytes, want %d", name, info.Size, want)
		}
	}
	b, err := os.ReadFile(filepath.Join(r.OutDir, "web.vhd"))
	if err != nil {
		t.Fatal(err)
	}
	footer := b[len(b)-vhdFooter:]
	if len(b) != whole+vhdFooter || binary.BigEndian.Uint64(footer[40:]) != whole || binary.BigEndian.Uint64(footer[48:]) != whole {
		t.Errorf("%d bytes, footer %x", len(b), footer[:80])
	}
	if slices.ContainsFunc(b[size:whole], func(c byte) bool { return c != 0 }) {
		t.Error("the room behind the disk is not zeros")
	}
}

// TestVHDHasAnEnd holds that what a VHD cannot hold is refused before it is written.
func TestVHDHasAnEnd(t *testing.T) {
	for size, ok := range map[int64]bool{1: true, vhdMost: true, vhdMost + 1: false} {
		if _, err := (&Job{diskSize: size}).vhdSize(); (err == nil) != ok {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
