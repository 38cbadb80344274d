package hardware

import (
	"slices"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string // in the error; "" for none
	}{
		{Options{}, ""},
		{Options{CPUs: 4, Memory: "8G", GuestOS: "debian12", Firmware: "uefi", SecureBoot: true, TPM: true, HardwareVersion: 19}, ""},
		{Options{SecureBoot: true}, ""},
		{Options{CPUs: -1}, "cpus: -1"},
		{Options{CPUs: 1000}, "want 1 to 768"},
		{Options{Memory: "10M"}, "want a multiple of 4M"},
		{Options{Memory: "1025M"}, "want a multiple of 4M"},
		{Options{Memory: "many"}, "memory: "},
		{Options{Firmware: "bios", SecureBoot: true}, "secure_boot: machines with a bios"},
		{Options{GuestOS: "debian21"}, `guest_os: "debian21" is not a name that bake knows (did you mean "debian`},
		{Options{HardwareVersion: 3}, "hardware_version: 3"},
		{Options{HardwareVersion: 9, DiskBus: "sata"}, "takes version 10 at least"},
		{Options{HardwareVersion: 12, DiskBus: "nvme"}, "takes version 13 at least"},
		{Options{HardwareVersion: 13, TPM: true}, "takes version 14 at least"},
		{Options{Network: "a\nb"}, "network: "},
	} {
		err := c.o.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}

func TestDescribed(t *testing.T) {
	got := Options{}.Described(false)
	want := Options{CPUs: 2, Memory: "2G", GuestOS: "linux", Firmware: "bios", DiskBus: "sata", NIC: "e1000", Network: "NAT", HardwareVersion: 13, Display: "vga"}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := (Options{}).Described(true); got.Firmware != "uefi" || got.Check() != nil {
		t.Errorf("%+v", got)
	}
	said := Options{CPUs: 1, Memory: "1G", GuestOS: "rhel9", Firmware: "uefi", SecureBoot: true, TPM: true, DiskBus: "nvme", NIC: "vmxnet3", Network: "x", HardwareVersion: 21, Serial: true, Display: "none"}
	if got := said.Described(false); got != said {
		t.Errorf("%+v, want %+v", got, said)
	}
}

// Every guest is found again by each of its names, or one that is called the same there.
func TestGuests(t *testing.T) {
	names := GuestNames()
	for i, g := range Guests() {
		if slices.Contains(names[:i], g.Name) {
			t.Errorf("%s is there twice", g.Name)
		}
		if g.OVF == 0 || g.VirtualBox == "" || !strings.Contains(g.VMware, "Guest") {
			t.Errorf("%+v lacks a name", g)
		}
		if found := GuestOf(g.VMware, "", 0); found.VMware != g.VMware {
			t.Errorf("%s: found %s by VMware's name", g.Name, found.Name)
		}
		if found := GuestOf(g.VMX(), "", 0); found.VMware != g.VMware {
			t.Errorf("%s: found %s by the name %q of a VMX", g.Name, found.Name, g.VMX())
		}
		if found := GuestOf("", g.VirtualBox, 0); found.VirtualBox != g.VirtualBox {
			t.Errorf("%s: found %s by VirtualBox' name", g.Name, found.Name)
		}
		if found := GuestOf("", "", g.OVF); found.OVF != g.OVF {
			t.Errorf("%s: found %s by OVF's number", g.Name, found.Name)
		}
	}
	for name, want := range map[string]string{
		"debian12": "debian12-64", "windows2019": "windows2019srv-64", "windows2016": "windows9server-64", "other": "other-64",
		"ubuntu22.04": "ubuntu-64", "fedora": "fedora-64", "rhel9": "rhel9-64", "linux": "other5xlinux-64",
	} {
		if g, _ := GuestNamed(name); g.VMX() != want {
			t.Errorf("%s is %q in a VMX, want %q", name, g.VMX(), want)
		}
	}
	if g := GuestOf("nothing", "nothing", 1); g.Name != "other" {
		t.Errorf("what is not known is %s", g.Name)
	}
}
