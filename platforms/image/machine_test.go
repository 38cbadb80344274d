package image

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/ovf"
	"bake.build/bake/internal/vmx"
)

// box makes an archive of files, given as names and contents.
func makeBox(t testing.TB, files ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.box")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func described() *ovf.Machine {
	o := hardware.Options{CPUs: 3, Firmware: "uefi", DiskBus: "nvme"}
	return &ovf.Machine{Name: "web", Hardware: o.Described(false), Disks: []ovf.Disk{{File: "disk.vmdk", Capacity: 1 << 20, Size: 4}}}
}

func TestOpenMachine(t *testing.T) {
	m := described()
	descriptor, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	settings, err := vmx.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	folder := func(files ...string) string {
		dir := t.TempDir()
		for i := 0; i < len(files); i += 2 {
			if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	ovfDir, vmxDir := folder("web.ovf", string(descriptor), "disk.vmdk", "disk"), folder("web.vmx", string(settings), "disk.vmdk", "disk")
	for _, c := range []struct {
		name, path, kind, bus string
	}{
		{"OVA", makeBox(t, "web.ovf", string(descriptor), "disk.vmdk", "disk"), "OVA", "nvme"},
		{"OVA of macOS", makeBox(t, "./._web.ovf", "x", "./web.ovf", string(descriptor), "./._disk.vmdk", "x", "./disk.vmdk", "disk"), "OVA", "nvme"},
		{"folder of macOS", folder("._web.vmx", "x", "web.vmx", string(settings), "disk.vmdk", "disk"), "VMX", "nvme"},
		{"folder with an OVF", ovfDir, "OVF", "nvme"},
		{"OVF", filepath.Join(ovfDir, "web.ovf"), "OVF", "nvme"},
		{"folder with a VMX", vmxDir, "VMX", "nvme"},
		{"VMX", filepath.Join(vmxDir, "web.vmx"), "VMX", "nvme"},
		{"box of VirtualBox", makeBox(t, "metadata.json", `{"provider":"virtualbox"}`, "box.ovf", string(descriptor), "disk.vmdk", "disk"), "box", "nvme"},
		{"box of VMware", makeBox(t, "./metadata.json", `{"provider":"vmware_desktop"}`, "./web.vmx", string(settings), "./disk.vmdk", "disk"), "box", "nvme"},
		{"box of libvirt", makeBox(t, "metadata.json", `{"provider":"libvirt","format":"qcow2"}`, "box.img", "disk"), "box", "virtio"},
		{"box of Hyper-V", makeBox(t, "metadata.json", `{"provider":"hyperv"}`, "Virtual Hard Disks/x.vhdx", "disk"), "box", "scsi"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := OpenMachine(c.path)
			if err != nil || m == nil {
				t.Fatal(m, err)
			}
			defer m.Close()
			if m.Kind != c.kind || m.Hardware.DiskBus != c.bus || len(m.Disks) != 1 {
				t.Errorf("%+v", m)
			}
			disk, err := m.Disk(context.Background(), 0, t.TempDir(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(disk); err != nil || string(b) != "disk" {
				t.Errorf("the disk is %q, %v", b, err)
			}
		})
	}
	for name, text := range map[string]string{"raw": strings.Repeat("\x00", 4096), "qcow2": "QFI\xfb", "empty": "", "text": "a = b\n"} {
		if m, err := OpenMachine(filepath.Join(folder("x", text), "x")); m != nil || err != nil {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	bare := *m
	bare.Disks = nil
	diskless, err := bare.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for want, path := range map[string]string{
		"is the OVA of a machine without a disk":     makeBox(t, "web.ovf", string(diskless)),
		"neither an .ovf nor a .vmx":                 folder("x", "y"),
		"is a folder with 2 descriptors":             folder("a.ovf", "", "b.vmx", ""),
		`boxes for the provider "docker"`:            makeBox(t, "metadata.json", `{"provider":"docker"}`),
		"metadata.json: invalid character":           makeBox(t, "metadata.json", `provider`),
		"it has 2 files with the end .img or .qcow2": makeBox(t, "metadata.json", `{"provider":"libvirt"}`, "a.img", "", "b.img", ""),
		"it has 0 files with the end .vmx":           makeBox(t, "metadata.json", `{"provider":"vmware_desktop"}`),
		"is outside of the package":                  makeBox(t, "metadata.json", `{"provider":"libvirt"}`, "../a.img", ""),
		"is not an OVA":                              makeBox(t, "a.img", ""),
	} {
		if m, err := OpenMachine(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v, want %q", m, err, want)
		}
	}
}

func TestOpenOrigin(t *testing.T) {
	m := described()
	m.Disks[0].File = ""
	empty, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if m, err := OpenOrigin(makeBox(t, "web.ovf", string(empty))); err == nil || !strings.Contains(err.Error(), "whose first disk is empty") {
		t.Errorf("%v, %v", m, err)
	}
}

func FuzzBox(f *testing.F) {
	text, err := os.ReadFile(makeBox(f, "metadata.json", `{"provider":"libvirt","format":"qcow2"}`, "box.img", "disk"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	path := filepath.Join(f.TempDir(), "x.box")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := OpenMachine(path)
		if err != nil || m == nil {
			return
		}
		defer m.Close()
		disk, err := m.Disk(context.Background(), 0, t.TempDir(), nil)
		if err != nil {
			return
		}
		if b, err := os.ReadFile(disk); err != nil || len(b) > 0 && !bytes.Contains(data, b) {
			t.Errorf("the disk %q is not part of the file: %v", b, err)
		}
	})
}
