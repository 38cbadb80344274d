package qemu

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	virtual "bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// TestBuses boots a disk on each bus, beside each card.
func TestBuses(t *testing.T) {
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	path := filepath.Join(t.TempDir(), "echo.raw")
	if err := os.WriteFile(path, echoDisk(), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, host: host{dir: t.TempDir()}}
	for _, c := range []struct{ bus, card string }{
		{"scsi", "e1000"}, {"lsilogic", "e1000e"}, {"pvscsi", "vmxnet3"}, {"sata", "rtl8139"}, {"ide", "pcnet"}, {"nvme", "virtio"},
	} {
		d := w.open(func(o *Options) { o.Memory, o.CPUs, o.DiskBus, o.NIC = "64M", 1, c.bus, c.card })
		m, err := d.Launch(t.Context(), platforms.Image{Path: path, Format: "raw", NoLogin: true}, platformtest.TestLog{T: t})
		if err != nil {
			t.Errorf("%s, %s: %v", c.bus, c.card, err)
			continue
		}
		if err := m.(*machine).vm.console.Wait(t.Context(), regexp.MustCompile(">")); err != nil {
			t.Errorf("%s, %s: %v", c.bus, c.card, err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What hardware() says holds where the platform's options say nothing.
func TestHardware(t *testing.T) {
	h := &virtual.Options{CPUs: 4, Memory: "4G", Firmware: "uefi", SecureBoot: true, TPM: true, DiskBus: "scsi", NIC: "e1000e"}
	s, err := Options{Arch: "amd64", Hardware: h}.settings()
	if err != nil || s.cpus != 4 || s.memory != 4<<30 || !s.firmware.uefi || !s.firmware.secure || !s.tpm || s.diskBus != "scsi" || s.nic != "e1000e" || s.machine != "q35" {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = Options{Arch: "amd64", Hardware: h, CPUs: 1, Memory: "1G", DiskBus: "ide", NIC: "virtio", Machine: "pc"}.settings()
	if err != nil || s.cpus != 1 || s.memory != 1<<30 || s.diskBus != "ide" || s.nic != "virtio" || s.machine != "pc" {
		t.Errorf("%+v, %v", s, err)
	}
	plain, err := Options{Arch: "amd64"}.settings()
	if err != nil {
		t.Fatal(err)
	}
	before, err := plain.fingerprint()
	if err != nil || strings.Contains(before, "bus") {
		t.Errorf("%q, %v", before, err)
	}
	for _, o := range []Options{{DiskBus: "scsi"}, {NIC: "e1000"}} {
		o.Arch = "amd64"
		s, err := o.settings()
		if err != nil {
			t.Fatal(err)
		}
		if f, err := s.fingerprint(); err != nil || f == before {
			t.Errorf("%+v has the fingerprint of a machine without: %q, %v", o, f, err)
		}
	}
	for want, o := range map[string]Options{
		"option disk_bus: machines of the type q35 have no ide": {Arch: "amd64", DiskBus: "ide", Machine: "q35"},
		"option disk_bus: machines of arm64 have no ide":        {Arch: "arm64", DiskBus: "ide"},
		"option firmware: the hardware has secure_boot":         {Arch: "amd64", Firmware: "bios", Hardware: &virtual.Options{SecureBoot: true}},
		"bake knows no firmware with secure_boot for arm64":     {Arch: "arm64", Hardware: &virtual.Options{SecureBoot: true}},
		"does not boot from pvscsi":                             {Arch: "amd64", DiskBus: "pvscsi", Firmware: "uefi"},
		"ide has room for 4 disks":                              {Arch: "amd64", DiskBus: "ide", Disks: []string{"1G", "1G", "1G"}},
	} {
		if _, err := o.settings(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}
