package openstack

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"

	"bake.build/bake/internal/hardware"
)

func TestOptionsCheck(t *testing.T) {
	for want, o := range map[string]Options{
		"":                             {Cloud: "lab", Flavor: "m1.small", Networks: []string{"build"}},
		"ssh_from: \"here\"":           {SSHFrom: []string{"here"}},
		"needs max_servers = 1":        {MaxServers: 2, Networks: []string{"build 10.0.0.7"}},
		"is not an address":            {Networks: []string{"build here"}},
		"ports: take the place":        {Ports: []string{"p"}, Networks: []string{"build"}},
		"floating_address: needs max":  {MaxServers: 2, FloatingAddress: "203.0.113.9"},
		"floating_address: takes":      {FloatingPool: "outside", FloatingAddress: "203.0.113.9"},
		"volume_availability_zone: n":  {VolumeZone: "az2"},
		"flavor: says":                 {Flavor: "m1.small", CPUs: 2},
		"user_data: belongs":           {UserData: "#cloud-config", Key: keyUserData},
		"volume_type: needs":           {VolumeType: "ssd"},
		"want whole GiB":               {BootVolume: "1500M"},
		"cloud_token: takes the place": {CloudToken: "t", CloudUser: "u"},
		"names that begin with bake:":  {Metadata: map[string]string{"bake:x": "y"}},
		"a name has letters":           {Metadata: map[string]string{"a/b": "y"}},
		"credential says which one":    {Credential: "c", Project: "p"},
	} {
		if err := o.Check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestPublicationCheck(t *testing.T) {
	for want, p := range map[string]Publication{
		"":                                     {Visibility: "public", Properties: map[string]string{"hw_disk_bus": "virtio"}},
		"serve: is for upload":                 {Serve: "203.0.113.7:80"},
		"serve: \"here\" is not":               {Serve: "here", ViaImport: uploadWeb},
		"accept_members: needs members":        {Accept: true},
		"members: an image that is private":    {Visibility: "private", Members: []string{"p"}},
		"is a field of the image's own":        {Properties: map[string]string{"min_disk": "1"}},
		"names that begin with bake:":          {Properties: map[string]string{"bake:ready": "1"}},
		"want whole GiB":                       {MinDisk: "1500M"},
		"image_compression: is for qcow2":      {ImageFormat: "raw", Compression: "zlib"},
		"want whole MiB":                       {MinRAM: "1025K"},
		"Nova attaches no disk by nvme":        {Hardware: &hardware.Options{DiskBus: "nvme"}},
		"hardware_version: is VMware's":        {Hardware: &hardware.Options{HardwareVersion: 19}},
		"secure_boot: machines with a bios do": {Hardware: &hardware.Options{SecureBoot: true, Firmware: "bios"}},
	} {
		if err := p.Check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestProperties gives Nova's words for hardware, by the table of its documentation.
func TestProperties(t *testing.T) {
	for _, c := range []struct {
		o          hardware.Options
		boot, arch string
		want       string // JSON
	}{
		{hardware.Options{}, "bios+uefi", "amd64", `{"hw_architecture":"x86_64"}`},
		{hardware.Options{}, "uefi", "arm64", `{"hw_architecture":"aarch64","hw_firmware_type":"uefi","hw_machine_type":"virt"}`},
		{hardware.Options{DiskBus: "pvscsi", NIC: "vmxnet3", GuestOS: "windows2022"}, "bios", "amd64",
			`{"hw_architecture":"x86_64","hw_disk_bus":"scsi","hw_firmware_type":"bios","hw_scsi_model":"vmpvscsi","hw_vif_model":"vmxnet3","os_distro":"windows","os_type":"windows"}`},
		{hardware.Options{DiskBus: "sata", GuestOS: "ubuntu24.04", Display: "none", Serial: true, Firmware: "uefi"}, "", "amd64",
			`{"hw_architecture":"x86_64","hw_disk_bus":"sata","hw_firmware_type":"uefi","hw_machine_type":"q35","hw_serial_port_count":"1","hw_video_model":"none","os_distro":"ubuntu","os_type":"linux","os_version":"24.04"}`},
		{hardware.Options{GuestOS: "linux"}, "", "", `{"os_type":"linux"}`},
		{hardware.Options{GuestOS: "centos9"}, "", "", `{"os_distro":"centos-stream","os_type":"linux","os_version":"9"}`},
	} {
		got, err := hardwareProperties(&c.o, c.boot, c.arch)
		text, _ := json.Marshal(got)
		if err != nil || string(text) != c.want {
			t.Errorf("%s, %v; want %s", text, err, c.want)
		}
	}
}

// TestNamed finds things by their names and ids, and takes none of two that have one name.
func TestNamed(t *testing.T) {
	list := []network{}
	for _, n := range [][2]string{{"1", "build"}, {"2", "twice"}, {"3", "twice"}, {"4", "1"}} {
		list = append(list, network{Network: networks.Network{ID: n[0], Name: n[1]}})
	}
	for name, want := range map[string]string{"build": "1", "1": "1", "3": "3", "bild": `there is no network "bild" (did you mean "build"?)`, "twice": `2 networks have the name "twice": give the id`} {
		if n, err := networkNamed(list, name); err == nil && n.ID != want || err != nil && err.Error() != want {
			t.Errorf("%s: %s, %v; want %s", name, n.ID, err, want)
		}
	}
}

// TestMessages reads what services say in their errors.
func TestMessages(t *testing.T) {
	for body, want := range map[string]string{
		`{"itemNotFound": {"code": 404, "message": "Image not found."}}`:                                                                                   "Image not found.",
		`{"NeutronError": {"type": "X", "message": "Quota exceeded for resources: ['port'].", "detail": ""}}`:                                              "Quota exceeded for resources: ['port'].",
		`{"error": {"code": 401, "message": "Requires authentication.", "title": "Unauthorized"}}`:                                                         "Requires authentication.",
		"<html>\n <head>\n  <title>400 Bad Request</title>\n </head>\n <body>\n  <h1>400 Bad Request</h1>\n  Invalid image<br /><br />\n </body>\n</html>": "400 Bad Request Invalid image",
		"": "",
	} {
		if got := message([]byte(body)); got != want {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
	}
}
