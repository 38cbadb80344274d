package ovf

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bake.build/bake/internal/hardware"
)

// Disks are those of the first controller first, whatever the order of the items, and one
// without a file of the package is empty, as vSphere writes it.
func TestDisksOfControllers(t *testing.T) {
	item := func(instance int, rest string) string {
		return fmt.Sprintf("<Item><InstanceID>%d</InstanceID>%s</Item>", instance, rest)
	}
	text := `<Envelope><References><File id="f" href="boot.vmdk"/></References>
<DiskSection><Disk diskId="boot" fileRef="f" capacity="1"/><Disk diskId="log" capacity="3" capacityAllocationUnits="byte * 2^30"/></DiskSection>
<VirtualSystem id="vm"><VirtualHardwareSection>` +
		item(1, "<ResourceType>6</ResourceType><ResourceSubType>VirtualSCSI</ResourceSubType><Address>0</Address>") +
		item(2, "<ResourceType>6</ResourceType><ResourceSubType>lsilogic</ResourceSubType><Address>1</Address>") +
		item(3, "<ResourceType>17</ResourceType><Parent>2</Parent><AddressOnParent>0</AddressOnParent><HostResource>ovf:/disk/log</HostResource>") +
		item(4, "<ResourceType>17</ResourceType><Parent>1</Parent><AddressOnParent>1</AddressOnParent><AllocationUnits>byte*1024*1024</AllocationUnits><VirtualQuantity>10240</VirtualQuantity>") +
		item(5, "<ResourceType>17</ResourceType><Parent>1</Parent><AddressOnParent>0</AddressOnParent><HostResource>ovf:/disk/boot</HostResource>") +
		`</VirtualHardwareSection></VirtualSystem></Envelope>`
	e, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	m := e.Systems[0]
	want := []Disk{{File: "boot.vmdk", Capacity: 1}, {Capacity: 10 << 30}, {Capacity: 3 << 30}}
	if !slices.Equal(m.Disks, want) || m.Hardware.DiskBus != "pvscsi" {
		t.Errorf("%+v, %s", m.Disks, m.Hardware.DiskBus)
	}
}

func TestUnits(t *testing.T) {
	for units, want := range map[string]uint64{
		"byte": 1, "byte * 2^20": 1 << 20, "byte * 2 ^ 30": 1 << 30, "Byte*1024*1024": 1 << 20, "byte * 10^9": 1e9, "byte * 2^0": 1,
		"MegaBytes": 1 << 20, "MB": 1 << 20, "byte * 2^64": 0, "byte * 0": 0, "byte * 2^-1": 0, "byte * 10^30": 0, "hertz * 10^6": 0, "MB * 2^10": 0, "": 0,
	} {
		n, err := unitOf(units)
		if n != want && want != 0 || (err == nil) != (want != 0) {
			t.Errorf("%q is %d, %v, want %d", units, n, err, want)
		}
	}
}

// Names of files are written as in URLs by some programs, and as they are by others.
func TestEncodedNames(t *testing.T) {
	m := machine(hardware.Options{}, Options{})
	m.Disks[0].File, m.Disks[0].Size = "my%20web%231.vmdk", 4
	text, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"my web#1.vmdk", "my%20web%231.vmdk"} {
		p, err := openBytes(t, archive(t, tar.FormatUSTAR, file{"web.ovf", string(text)}, file{name, "disk"}))
		if err != nil {
			t.Fatal(err)
		}
		m, err := p.Envelope.Machine()
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := p.Copy(context.Background(), &b, m.Disks[0].File, nil); err != nil || b.String() != "disk" || m.Disks[0].File != name {
			t.Errorf("%q: %q, %v", m.Disks[0].File, b.String(), err)
		}
	}
	m.Disks[0].File = "..%2f..%2fetc%2fshadow"
	if text, err = m.Encode(); err != nil {
		t.Fatal(err)
	}
	if _, err := openBytes(t, archive(t, tar.FormatUSTAR, file{"web.ovf", string(text)})); err == nil || !strings.Contains(err.Error(), "does not have it") {
		t.Error(err)
	}
}
