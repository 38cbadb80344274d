package image

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/platforms"

	"bake.build/bake/internal/need"
)

// secret stands for a file of the host that no image may show.
const secret = "the host's own"

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sparseVMDK is an empty VMDK with a header and a description.
func sparseVMDK(sectors uint64, description string) []byte {
	b := make([]byte, 64<<10)
	copy(b, "KDMV")
	binary.LittleEndian.PutUint32(b[4:], 1)
	binary.LittleEndian.PutUint64(b[12:], sectors)
	binary.LittleEndian.PutUint64(b[20:], 128)
	binary.LittleEndian.PutUint64(b[28:], 1)
	binary.LittleEndian.PutUint64(b[36:], 20)
	copy(b[512:], description)
	return b
}

func description(kind, parent, extents string) string {
	return "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=" + parent + "\ncreateType=\"" + kind + "\"\n\n" + extents + "\n"
}

// TestHostileImages has images name another file of the host, in every way that
// their formats have.
func TestHostileImages(t *testing.T) {
	host := writeFile(t, "passwd", append([]byte(secret), make([]byte, 1<<20)...))
	flat := "RW 2048 FLAT \"" + host + "\" 0"
	sparse := "RW 2048 SPARSE \"x.vmdk\""
	qcow2 := func(change func(b []byte)) []byte {
		b := make([]byte, 64<<10)
		copy(b, "QFI\xfb\x00\x00\x00\x03")
		binary.BigEndian.PutUint32(b[20:], 16)
		binary.BigEndian.PutUint64(b[24:], 1<<20)
		binary.BigEndian.PutUint32(b[96:], 4)
		binary.BigEndian.PutUint32(b[100:], 104)
		copy(b[512:], host)
		change(b)
		return b
	}
	vhd := make([]byte, 4096)
	copy(vhd, "conectix")
	binary.BigEndian.PutUint32(vhd[60:], 4)
	vdi := make([]byte, 4096)
	copy(vdi[0x40:], "\x7f\x10\xda\xbe")
	binary.LittleEndian.PutUint32(vdi[0x4c:], 4)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"a description alone":           {[]byte(description("monolithicFlat", "ffffffff", flat)), "without the file \"" + host},
		"an envelope of a description":  {sparseVMDK(0, description("monolithicFlat", "ffffffff", flat)), "without data of its own"},
		"a second extent":               {sparseVMDK(2048, description("monolithicSparse", "ffffffff", sparse+"\n"+flat)), "with 2 extents"},
		"two sparse extents":            {sparseVMDK(2048, description("twoGbMaxExtentSparse", "ffffffff", sparse+"\n"+sparse)), `of the type "twoGbMaxExtentSparse"`},
		"two extents of one":            {sparseVMDK(2048, description("monolithicSparse", "ffffffff", sparse+"\n"+sparse)), "with 2 extents"},
		"a VMDK's parent":               {sparseVMDK(2048, description("monolithicSparse", "12345678", sparse)+"parentFileNameHint=\""+host+"\"\n"), "of differences"},
		"a VMDK's hint":                 {sparseVMDK(2048, description("monolithicSparse", "ffffffff", sparse)+"parentFileNameHint = \""+host+"\"\n"), "of differences"},
		"a flat extent in a sparse one": {sparseVMDK(2048, description("monolithicSparse", "ffffffff", flat)), `kind "FLAT": it is not whole without the file "` + host},
		"a VMDK's device":               {sparseVMDK(2048, description("fullDevice", "ffffffff", "RW 2048 FLAT \"/dev/sda\" 0")), `of the type "fullDevice"`},
		"a qcow2's backing file":        {qcow2(func(b []byte) { b[14], b[19] = 2, byte(len(host)) }), "is an overlay of another image: it is not whole without the file \"" + host},
		"a qcow2's external data":       {qcow2(func(b []byte) { b[79] = 4 }), "keeps its data elsewhere"},
		"an encrypted qcow2":            {qcow2(func(b []byte) { b[35] = 2 }), "is encrypted"},
		"qcow, version 1":               {qcow2(func(b []byte) { b[7] = 1 }), "version 1"},
		"a VHD of differences":          {vhd, "is a VHD of differences"},
		"a VDI of differences":          {vdi, "is a VDI of differences"},
		"QED, which has backing files":  {[]byte("QED\x00" + strings.Repeat("\x00", 4096)), "is a QED image"},
		"cloop":                         {[]byte("#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"), "is a cloop image"},
		"a VMDK of 2^63 sectors":        {sparseVMDK(1<<63, description("monolithicSparse", "ffffffff", sparse)), "is damaged"},
		"a description behind the end":  {sparseVMDK(2048, "")[:600], "is damaged"},
		"a qcow2 of 2^63 bytes":         {qcow2(func(b []byte) { b[24] = 0x80 }), "makes no sense"},
		"a qcow2 of four bytes":         {[]byte("QFI\xfb"), "is damaged"},
		"a qcow2 that is cut off":       {qcow2(func(b []byte) { b[39], b[46] = 1, 1 })[:104], "it ends within"},
		"a VHDX without what makes one": {append([]byte("vhdxfile"), make([]byte, 256<<10)...), "is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(writeFile(t, "image", c.data), "")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
	t.Run("what is called raw stays raw", func(t *testing.T) {
		data := qcow2(func(b []byte) { b[14], b[19] = 2, 64 })
		n, err := Open(writeFile(t, "image.raw", data), "raw")
		if err != nil || n.Driver != "raw" || n.Size != int64(len(data)) {
			t.Errorf("%+v, %v", n, err)
		}
	})
	t.Run("the format must be the one that is asked for", func(t *testing.T) {
		if _, err := Open(writeFile(t, "image.qcow2", make([]byte, 4096)), "qcow2"); err == nil {
			t.Error("zeros are a qcow2")
		}
	})
	t.Run("no devices", func(t *testing.T) {
		if _, err := Open("/dev/null", "raw"); err == nil {
			t.Error("a device was opened")
		}
	})
}

// TestLocatorNamesAllChildren looks at what QEMU is told.
func TestLocatorNamesAllChildren(t *testing.T) {
	for driver, backing := range map[string]string{"qcow2": `"backing":null`, "vmdk": `"backing":null`, "raw": "", "vpc": ""} {
		got, err := (&Node{Driver: driver, ReadOnly: true, File: FileNode("/a,b:c")}).Locator()
		if err != nil {
			t.Fatal(err)
		}
		if want := `"file":{"driver":"file","filename":"/a,b:c"`; !strings.HasPrefix(got, "json:") || !strings.Contains(got, want) || !strings.Contains(got, `"driver":"`+driver+`"`) {
			t.Errorf("locator %s", got)
		}
		if backing != "" && !strings.Contains(got, backing) || backing == "" && strings.Contains(got, "backing") {
			t.Errorf("locator %s, want %s", got, backing)
		}
	}
}

// TestImagesOfQEMU has qemu-img write images, and read them by what Open says.
func TestImagesOfQEMU(t *testing.T) {
	need.Tool(t, "qemu-img")
	disk := bytes.Repeat([]byte("0123456789abcdef"), 3<<16) // 3 MiB
	raw := writeFile(t, "disk.raw", disk)
	img := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("qemu-img", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("qemu-img %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for name, c := range map[string]struct{ format, options string }{
		"qcow2":            {"qcow2", "compat=1.1"},
		"qcow2, old":       {"qcow2", "compat=0.10"},
		"VMDK":             {"vmdk", "subformat=monolithicSparse"},
		"VMDK, compressed": {"vmdk", "subformat=streamOptimized"},
		"VDI":              {"vdi", "static=off"},
		"VDI, fixed":       {"vdi", "static=on"},
		"VHD":              {"vpc", "subformat=dynamic,force_size=on"},
		"VHD, fixed":       {"vpc", "subformat=fixed,force_size=on"},
		"VHDX":             {"vhdx", "subformat=dynamic"},
		"raw":              {"raw", ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			args := []string{"convert", "-f", "raw", "-O", c.format}
			if c.options != "" {
				args = append(args, "-o", c.options)
			}
			img(append(args, raw, path)...)
			n, err := Open(path, "")
			if err != nil {
				t.Fatal(err)
			}
			if n.Driver != c.format || n.Size != int64(len(disk)) {
				t.Errorf("%s of %d bytes, want %s of %d", n.Driver, n.Size, c.format, len(disk))
			}
			locator, err := n.Locator()
			if err != nil {
				t.Fatal(err)
			}
			var info struct {
				Size int64 `json:"virtual-size"`
			}
			if err := json.Unmarshal([]byte(img("info", "--output=json", locator)), &info); err != nil || info.Size != n.Size {
				t.Errorf("qemu-img says %d, %v", info.Size, err)
			}
			back := filepath.Join(t.TempDir(), "back.raw")
			img("convert", "-O", "raw", locator, back)
			if b, err := os.ReadFile(back); err != nil || !bytes.Equal(b, disk) {
				t.Errorf("the content differs (%v)", err)
			}
		})
	}
	for name, args := range map[string][]string{
		"VMDK in pieces": {"-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"},
		"VMDK, flat":     {"-f", "vmdk", "-o", "subformat=monolithicFlat"},
		"external data":  {"-f", "qcow2", "-o", "data_file=" + filepath.Join(t.TempDir(), "data")},
		"backing file":   {"-f", "qcow2", "-F", "raw", "-b", raw},
		"backed VMDK":    {"-f", "vmdk", "-F", "vmdk", "-b", vmdkOf(t, img, raw)},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image.vmdk")
			img(append(append([]string{"create"}, args...), path, "3M")...)
			if _, err := Open(path, ""); !errors.As(err, new(*outsideError)) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func vmdkOf(t *testing.T, img func(args ...string) string, raw string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "base.vmdk")
	img("convert", "-f", "raw", "-O", "vmdk", raw, path)
	return path
}

// FuzzProbe looks for headers that a reader does not survive.
func FuzzProbe(f *testing.F) {
	f.Add(sparseVMDK(2048, description("monolithicSparse", "ffffffff", "RW 2048 SPARSE \"x\"")))
	f.Add(append([]byte("vhdxfile"), make([]byte, 200<<10)...))
	f.Add([]byte("QFI\xfb\x00\x00\x00\x03"))
	f.Add([]byte("conectix"))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := probe(bytes.NewReader(data), int64(len(data)))
		if err == nil && (info.Format == "" || info.VirtualSize < 0) {
			t.Errorf("%+v", info)
		}
	})
}

// TestKindsAreInTheTable holds that readers use QEMU's names of the table of formats.
func TestKindsAreInTheTable(t *testing.T) {
	known := map[string]bool{}
	for _, f := range platforms.DiskFormats() {
		if !f.Machine {
			known[f.QEMU] = true
		}
	}
	read := map[string]bool{"raw": true} // what is nothing else
	for _, k := range kinds {
		if k.read != nil && !known[k.format] {
			t.Errorf("%q is not in the table", k.format)
		}
		read[k.format] = true
	}
	for name := range known {
		if !read[name] {
			t.Errorf("nothing reads %q", name)
		}
	}
}
