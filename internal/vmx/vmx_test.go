package vmx

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/internal/ovf"
	"github.com/google/go-cmp/cmp"
)

func machine(o hardware.Options) *ovf.Machine {
	return &ovf.Machine{Name: "web", Hardware: o.Described(false), UUID: "564d1111-2222-4333-8444-555555555555", Disks: []ovf.Disk{{File: "web.vmdk"}}}
}

func TestRoundTrip(t *testing.T) {
	for _, o := range []hardware.Options{
		{},
		{CPUs: 4, Memory: "8G", GuestOS: "debian12", Firmware: "uefi", SecureBoot: true, TPM: true, DiskBus: "pvscsi", NIC: "vmxnet3", Network: "VMnet8", HardwareVersion: 19, Serial: true},
		{DiskBus: "lsilogic", NIC: "e1000e", Network: "bridged"}, {DiskBus: "lsisas", NIC: "pcnet"}, {DiskBus: "ide"}, {DiskBus: "nvme"},
	} {
		m := machine(o)
		m.Annotation = "a \"quoted\" | text\nin two lines"
		text, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		want := *m
		want.UUID, want.Hardware.Display = strings.ReplaceAll(m.UUID, "-", ""), ""
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s\n%s", diff, text)
		}
	}
	for _, o := range []hardware.Options{{DiskBus: "virtio"}, {NIC: "virtio"}} {
		if _, err := Encode(machine(o)); err == nil || !strings.Contains(err.Error(), "VMware has no virtio") {
			t.Error(err)
		}
	}
}

// workstation is a file as a program of VMware's wrote it.
const workstation = `#!/usr/bin/vmware
.encoding = "UTF-8"
config.version = "8"
virtualHW.version = "16"
scsi0.virtualDev = "lsisas1068"
scsi0.present = "TRUE"
scsi0:0.fileName = "Old Disk.vmdk"
scsi0:0.present = "TRUE"
ide1:0.deviceType = "cdrom-image"
ide1:0.fileName = "/isos/x.iso"
ide1:0.present = "TRUE"
sata0:1.fileName = "auto detect"
sata0:1.deviceType = "cdrom-raw"
sata0:1.present = "TRUE"
floppy0.present = "FALSE"
ethernet0.present = "TRUE"
displayName = "Old"
guestOS = "debian10-64"
memsize = "1024"
`

func TestParse(t *testing.T) {
	m, err := Parse([]byte(strings.ReplaceAll(workstation, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	want := hardware.Options{CPUs: 1, Memory: "1G", GuestOS: "debian10", Firmware: "bios", DiskBus: "lsisas", NIC: "e1000", Network: "bridged", HardwareVersion: 16}
	if m.Hardware != want || m.Name != "Old" || len(m.Disks) != 1 || m.Disks[0].File != "Old Disk.vmdk" {
		t.Errorf("%+v", m)
	}
	for old, c := range map[string][2]string{
		"Old Disk.vmdk":            {"../../etc/x.vmdk", "is outside of the machine's folder"},
		`"Old Disk`:                {`"C:\disks\a`, "is outside of the machine's folder"},
		`memsize = "1024"`:         {`memsize = "none"`, `memsize: "none" makes no sense`},
		`displayName`:              {"numvcpus = \"2000000000\"\ndisplayName", `numvcpus: "2000000000" makes no sense`},
		`guestOS = "debian10-64"`:  {"guestOS", "line 18 is not a setting"},
		`scsi0:0.present = "TRUE"`: {"", "the machine has no disk"},
		`config.version = "8"`:     {"", ""},
		`memsize = "1024"` + "\n":  {"memsize = 1024 # in MiB\n", ""},
		`displayName =`:            {`sata0:0.fileName = "Old Disk.vmdk"` + "\nsata0:0.present = 1\ndisplayName =", `the disk "Old Disk.vmdk" is attached twice`},
	} {
		_, err := Parse([]byte(strings.Replace(workstation, old, c[0], 1)))
		if c[1] == "" && err != nil || c[1] != "" && (err == nil || !strings.Contains(err.Error(), c[1])) {
			t.Errorf("%s: %v, want %q", c[0], err, c[1])
		}
	}
	for text, want := range map[string]string{
		"": "is not a VMX file", "a = \"b\"\n": "is not a VMX file", "\xff": "is not a VMX file in UTF-8", "a = \"x\" y\n": "line 1 is not a setting", "a = \"x\n": "line 1 is not a setting", "a =\n": "line 1 is not a setting",
		".encoding = \"windows-1252\"\nx = \"\xe9\"\n": `is not a VMX file in UTF-8: it is in "windows-1252"`,
		strings.Repeat("a", maxFile+1):                 "at most",
		".encoding = \"UTF-8\"\nencryption.keySafe = \"vmware:key/list/(x)\"\nencryption.data = \"1HGP\"\n": "is encrypted",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
}

// TestLibvirt has libvirt's parser for VMware's desktop programs read what is written. It
// asks programs of VMware for their version first, which scripts stand for here.
func TestLibvirt(t *testing.T) {
	need.Tool(t, "virsh")
	dir := t.TempDir()
	for _, name := range []string{"vmrun", "vmplayer"} {
		script := "#!/bin/sh\necho 'VMware Player 16.2.0 build-18760230'\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []hardware.Options{{}, {CPUs: 4, Memory: "4G", DiskBus: "pvscsi", NIC: "vmxnet3", Firmware: "uefi", Network: "bridged"}, {DiskBus: "lsilogic", NIC: "e1000e", Serial: true}} {
		text, err := Encode(machine(o))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "web.vmx")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("virsh", "-c", "vmwareplayer:///session", "domxml-from-native", "vmware-vmx", path)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_RUNTIME_DIR="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("virsh: %v: %s", err, out)
		}
		d := machine(o).Hardware
		memory, _ := d.MemorySize()
		for _, want := range []string{"<name>web</name>", "web.vmdk", "<model type='" + d.NIC + "'/>", fmt.Sprintf("<memory unit='KiB'>%d</memory>", memory>>10), "bus='" + libvirtBus[d.DiskBus] + "'"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("libvirt does not say %q: %s", want, out)
			}
		}
	}
}

// libvirtBus is what libvirt calls a bus.
var libvirtBus = map[string]string{"sata": "sata", "pvscsi": "scsi", "lsilogic": "scsi"}

func FuzzParse(f *testing.F) {
	f.Add([]byte(workstation))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		for _, d := range m.Disks {
			if !filepath.IsLocal(d.File) {
				t.Errorf("the name %q leads out", d.File)
			}
		}
	})
}
