package qemu

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	virtual "bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/internal/ovf"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// writeOVA writes an OVA with the hardware, whose first disk boots, and a second disk.
func writeOVA(t *testing.T, o virtual.Options) string {
	t.Helper()
	dir := t.TempDir()
	raw, vmdk, path := filepath.Join(dir, "echo.raw"), filepath.Join(dir, "echo.vmdk"), filepath.Join(dir, "web.ova")
	if err := os.WriteFile(raw, echoDisk(), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, vmdk).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(vmdk)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	m := &ovf.Machine{Name: "web", Hardware: o.Described(false), Disks: []ovf.Disk{{File: "a.vmdk", Capacity: 1 << 20}, {File: "b.vmdk", Capacity: 1 << 20}}}
	err = ovf.WriteOVA(f, m, nil, func(_ int, w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// gzipped returns the path of a compressed copy of the file at path.
func gzipped(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path += ".gz"
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLaunchOVA starts what an OVA describes: its bus, card, CPUs and memory, whatever the
// platform's own machines have.
func TestLaunchOVA(t *testing.T) {
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	w := &world{t: t, host: host{dir: t.TempDir()}}
	d := w.open(func(o *Options) { o.Memory, o.CPUs = "512M", 2 })
	for i, o := range []virtual.Options{
		{CPUs: 1, Memory: "128M", DiskBus: "pvscsi", NIC: "vmxnet3"}, {CPUs: 3, Memory: "64M", DiskBus: "sata", NIC: "e1000e"},
	} {
		path := writeOVA(t, o)
		if i == 1 { // as boxes are
			path = gzipped(t, path)
		}
		m, err := d.Launch(t.Context(), platforms.Image{Path: path, Format: "ova", NoLogin: true}, platformtest.TestLog{T: t})
		if err != nil {
			t.Fatal(err)
		}
		s := m.(*machine).hw.settings
		if s.cpus != o.CPUs || s.diskBus != o.DiskBus || s.nic != o.NIC || platforms.FormatSize(s.memory) != o.Memory || s.machine != "pc" || len(m.(*machine).hw.overlays) != 2 {
			t.Errorf("%+v is started as %+v", o, s)
		}
		if err := m.(*machine).vm.console.Wait(t.Context(), regexp.MustCompile(">")); err != nil {
			t.Error(err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	w.host.nothingLeft(t)
}

// What a descriptor asks for and QEMU does not have gets what is next to it.
func TestTakeHardware(t *testing.T) {
	s, err := Options{Arch: "amd64"}.settings()
	if err != nil {
		t.Fatal(err)
	}
	h := virtual.Options{CPUs: 4, Memory: "2052M", Firmware: "uefi", SecureBoot: true, TPM: true, DiskBus: "pvscsi", NIC: "vmxnet3"}
	if err := s.takeHardware(h, platformtest.TestLog{T: t}); err != nil {
		t.Fatal(err)
	}
	if s.cpus != 4 || s.memory != 2052<<20 || !s.firmware.secure || !s.tpm || s.diskBus != "scsi" || s.nic != "vmxnet3" || s.machine != "q35" {
		t.Errorf("%+v", s)
	}
	s, err = Options{Arch: "amd64", CPUs: 3}.settings()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.takeHardware(virtual.Options{DiskBus: "ide", Firmware: "uefi"}, platformtest.TestLog{T: t}); err != nil || s.cpus != 3 || s.machine != "pc" || !s.firmware.uefi {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestImportOVA begins layers on machines that others have described.
func TestImportOVA(t *testing.T) {
	need.Tool(t, "qemu-img")
	w := &world{t: t, host: host{dir: t.TempDir()}}
	w.driver = w.open(func(o *Options) { o.Disks = []string{"1M"} })
	layer := w.imported(writeOVA(t, virtual.Options{}))
	for i := range 2 {
		if size, err := virtualSize(filepath.Join(layer.Dir, diskName(i))); err != nil || size != 1<<20 {
			t.Errorf("disk %d has %d bytes: %v", i, size, err)
		}
	}
	dst := filepath.Join(t.TempDir(), "disk.raw")
	if err := w.driver.Disk(t.Context(), []platforms.Layer{layer}, dst, platformtest.TestLog{T: t}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(dst); err != nil || string(b) != string(echoDisk()) {
		t.Errorf("the disk differs: %v", err)
	}
	fails := func(d *driver, path string, want ...string) {
		t.Helper()
		_, err := d.Import(t.Context(), platforms.Origin{Kind: "disk", Paths: map[string]string{"disk": path}}, w.layerDir(), platformtest.TestLog{T: t})
		says(t, err, want...)
	}
	fails(w.open(), writeOVA(t, virtual.Options{}), "the OVA has 1 disks after the first, and qemu(disks = …) says 0")
	fails(w.driver, writeOVA(t, virtual.Options{Firmware: "uefi"}), `the OVA is of a machine that starts with uefi: qemu(firmware = "uefi")`)
	recorded := filepath.Join("..", "..", "internal", "ovf", "testdata", "vbox-ovf20.ova")
	w.driver = w.open()
	layer = w.imported(recorded)
	dst = filepath.Join(t.TempDir(), "recorded.raw")
	if err := w.driver.Disk(t.Context(), []platforms.Layer{layer}, dst, platformtest.TestLog{T: t}); err != nil {
		t.Fatal(err)
	}
	digest, err := digestOf(dst)
	if err != nil || digest != "7a20e67268e2a8594b3f9d67ae5df411f8856d701518a900d7cf65a37e7192d7" {
		t.Errorf("the disk has the digest %s, %v", digest, err)
	}
	data, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.ova")
	if err := os.WriteFile(cut, data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	fails(w.open(), cut, "is cut short")
	text := filepath.Join(t.TempDir(), "x.ovf")
	if err := os.WriteFile(text, []byte("<Envelope/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	fails(w.open(), text, "the envelope is empty")
}
