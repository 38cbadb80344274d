package ovf

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"github.com/google/go-cmp/cmp"
)

func machine(o hardware.Options, options Options) *Machine {
	return &Machine{
		Name: "web", Hardware: o.Described(false), UUID: "11111111-2222-4333-8444-555555555555", MAC: "080027AABBCC",
		Disks:   []Disk{{File: "web-disk1.vmdk", Capacity: 1 << 20, UUID: "01234567-89ab-4def-8123-456789abcdef"}},
		Options: options,
	}
}

func writeOVA(t *testing.T, m *Machine, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), m.Name+".ova")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = WriteOVA(f, m, nil, func(_ int, w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// What another program wrote is read, and its disk is what it was made from.
func TestRecorded(t *testing.T) {
	for _, c := range []struct {
		file string
		want Machine
	}{
		{"vbox-ovf10.ova", Machine{
			Name: "tiny", MAC: "0800271E9222",
			Hardware: hardware.Options{CPUs: 2, Memory: "512M", GuestOS: "debian10", Firmware: "bios", DiskBus: "sata", NIC: "e1000", Network: "NAT"},
			Disks:    []Disk{{File: "vbox-ovf10-disk001.vmdk", Capacity: 8 << 20}},
			Options:  Options{Product: "Tiny", Release: "1.0"},
		}},
		{"vbox-ovf20.ova", Machine{
			Name: "tiny", MAC: "0800271E9222",
			Hardware: hardware.Options{CPUs: 2, Memory: "512M", GuestOS: "debian10", Firmware: "bios", DiskBus: "sata", NIC: "e1000", Network: "NAT"},
			Disks:    []Disk{{File: "vbox-ovf20-disk001.vmdk", Capacity: 8 << 20}},
			Options:  Options{Product: "Tiny", Release: "1.0"},
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			p, err := Open(filepath.Join("testdata", c.file))
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			m, err := p.Envelope.Machine()
			if err != nil {
				t.Fatal(err)
			}
			got := *m
			if got.UUID == "" || got.Disks[0].UUID == "" {
				t.Errorf("no UUIDs: %+v", got)
			}
			got.UUID, got.Disks[0].UUID = "", ""
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			dir := t.TempDir()
			disk := filepath.Join(dir, "disk.vmdk")
			var b bytes.Buffer
			if err := p.Copy(context.Background(), &b, m.Disks[0].File, nil); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(disk, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			need.Tool(t, "qemu-img")
			raw := filepath.Join(dir, "disk.raw")
			if out, err := exec.Command("qemu-img", "convert", "-f", "vmdk", "-O", "raw", disk, raw).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			data, err := os.ReadFile(raw)
			if err != nil {
				t.Fatal(err)
			}
			const want = "7a20e67268e2a8594b3f9d67ae5df411f8856d701518a900d7cf65a37e7192d7"
			if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != want {
				t.Errorf("the disk has the digest %x", sum)
			}
		})
	}
}

// What is written is read again as it was said, in every version and flavor.
func TestRoundTrip(t *testing.T) {
	all := hardware.Options{
		CPUs: 3, Memory: "4G", GuestOS: "debian12", Firmware: "uefi", SecureBoot: true, TPM: true,
		DiskBus: "pvscsi", NIC: "vmxnet3", Network: "VM & <Network>", HardwareVersion: 19, Serial: true,
	}
	said := Options{
		Product: "Web <1>", Vendor: "Us & Co", Release: "1.2", ProductURL: "https://example.org/?a=1&b=2", VendorURL: "https://example.org/",
		Annotation: "line 1\nline 2", EULA: "no licence", Properties: map[string]string{"host.name": "web", "dns": ""}, Transport: []string{"com.vmware.guestInfo", "iso"},
	}
	for _, c := range []struct {
		name    string
		o       hardware.Options
		options Options
	}{
		{"defaults", hardware.Options{}, Options{}},
		{"vmware", all, with(said, "1.1", VMware)},
		{"2.0", all, with(said, "2.0", Generic)},
		{"virtualbox", hardware.Options{Firmware: "uefi", NIC: "virtio", DiskBus: "virtio", Serial: true}, with(Options{}, "1.0", VirtualBox)},
		{"ide", hardware.Options{DiskBus: "ide", NIC: "pcnet"}, with(Options{}, "1.0", VirtualBox)},
		{"nvme", hardware.Options{DiskBus: "nvme", NIC: "e1000e"}, Options{Digest: "sha1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := machine(c.o, c.options)
			data := bytes.Repeat([]byte("disk"), 5000)
			path := writeOVA(t, m, data)
			p, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			got, err := p.Envelope.Machine()
			if err != nil {
				t.Fatal(err)
			}
			want := *m
			want.Version, want.Flavor, want.Digest = "", "", ""
			want.Hardware.Display = "" // which is not read
			if m.Flavor == VirtualBox {
				want.Hardware.HardwareVersion = 0
			} else {
				want.UUID, want.MAC = "", ""
			}
			if m.Flavor == VMware {
				want.Disks = []Disk{{File: m.Disks[0].File, Size: int64(len(data)), Capacity: 1 << 20}}
			}
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Error(diff)
			}
			var b bytes.Buffer
			if err := p.Copy(context.Background(), &b, "web-disk1.vmdk", nil); err != nil || !bytes.Equal(b.Bytes(), data) {
				t.Errorf("the disk has %d bytes: %v", b.Len(), err)
			}
		})
	}
}

func with(o Options, version, flavor string) Options {
	o.Version, o.Flavor = version, flavor
	return o
}

// The order of members is the standard's, their names are bare, and GNU tar and another
// hand's sums agree.
func TestOVAForOthers(t *testing.T) {
	path := writeOVA(t, machine(hardware.Options{}, Options{}), bytes.Repeat([]byte{7}, 1000))
	need.Tool(t, "tar")
	out, err := exec.Command("tar", "-tf", path).CombinedOutput()
	if err != nil || string(out) != "web.ovf\nweb.mf\nweb-disk1.vmdk\n" {
		t.Fatalf("tar lists %q: %v", out, err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xf", path, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	need.Tool(t, "openssl")
	want, err := os.ReadFile(filepath.Join(dir, "web.mf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web.ovf", "web-disk1.vmdk"} {
		cmd := exec.Command("openssl", "dgst", "-sha256", name)
		cmd.Dir = dir
		out, err := cmd.Output()
		line := strings.Replace(strings.Replace(string(out), "SHA2-256", "SHA256", 1), ")= ", ")= ", 1)
		if err != nil || !strings.Contains(string(want), line) {
			t.Errorf("the manifest %q has not openssl's %q: %v", want, line, err)
		}
	}
	// A folder with the files is the same package.
	p, err := Open(filepath.Join(dir, "web.ovf"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Copy(context.Background(), io.Discard, "web-disk1.vmdk", nil); err != nil {
		t.Error(err)
	}
}

// A large member has a header of one block, too.
func TestLargeHeader(t *testing.T) {
	for _, size := range []int64{0, ustarMost, ustarMost + 1, 1 << 41} {
		b, err := TarHeader("disk.vmdk", size)
		if err != nil {
			t.Fatal(err)
		}
		h, err := tar.NewReader(bytes.NewReader(b)).Next()
		if err != nil || h.Size != size || h.Name != "disk.vmdk" {
			t.Errorf("%d: %+v, %v", size, h, err)
		}
	}
	if _, err := TarHeader(strings.Repeat("x", 120), 1); err == nil {
		t.Error("no error for a long name")
	}
}

// What is written is XML whose length does not follow from the sizes of members.
func TestEncode(t *testing.T) {
	m := machine(hardware.Options{}, Options{})
	short, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	m.Disks[0].Size = 1<<63 - 1
	long, err := m.Encode()
	if err != nil || len(long) != len(short) {
		t.Errorf("%d bytes, then %d: %v", len(short), len(long), err)
	}
	if err := xml.Unmarshal(long, new(struct{})); err != nil {
		t.Error(err)
	}
	for _, o := range []hardware.Options{{DiskBus: "virtio"}, {NIC: "virtio"}, {NIC: "rtl8139"}} {
		if _, err := machine(o, Options{}).Encode(); err == nil || !strings.Contains(err.Error(), "not known to readers of the flavor generic") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
