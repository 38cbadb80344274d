package openstack

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/qcow2"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
)

// Publication are the options of export() for images that are registered here.
type Publication struct {
	ImageName   string            `bake:"image_name" json:"image_name,omitempty" help:"The image's name." default:"the artifact's, with the beginning of its key"`
	ImageFormat string            `bake:"image_format" json:"image_format,omitempty" help:"The format of the image's disk, as the cloud wants it: raw for Ceph, vhd for Hyper-V and Xen, vmdk for VMware. A layer of openstack has the cloud's own, unless boot_volume is set." default:"qcow2" choices:"qcow2|raw|vmdk|vhd|vhdx|vdi"`
	Compression string            `bake:"image_compression" json:"image_compression,omitempty" help:"How the clusters of a qcow2 disk are compressed. What is older than QEMU 5.1 reads zlib alone." default:"zstd" choices:"zstd|zlib"`
	Regions     []string          `bake:"regions" json:"regions,omitempty" help:"Regions of the image, including the platform's region." default:"the platform's region"`
	Visibility  string            `bake:"visibility" json:"visibility,omitempty" help:"Who sees the image: the project, its members, all who know of it, or all." default:"shared" choices:"private|shared|community|public"`
	Members     []string          `bake:"members" json:"members,omitempty" help:"Projects that may use the image, by their ids. Each has to accept it, unless accept_members is set."`
	Accept      bool              `bake:"accept_members" json:"accept_members,omitempty" help:"The image is accepted for its members, which administrators may do."`
	Protected   bool              `bake:"protected" json:"protected,omitempty" help:"The image cannot be deleted until the protection is turned off."`
	Hidden      bool              `bake:"hidden" json:"hidden,omitempty" help:"The image is in no list unless hidden ones are asked for."`
	MinDisk     string            `bake:"min_disk,size" json:"min_disk,omitempty" help:"The disk that flavors need at least, in whole GiB." default:"that of the image's disk"`
	MinRAM      string            `bake:"min_ram,size" json:"min_ram,omitempty" help:"The memory that flavors need at least, in whole MiB." default:"that of image_hardware, or none"`
	Labels      []string          `bake:"image_labels" json:"image_labels,omitempty" help:"Tags of the image, as Glance has them: words without values."`
	Properties  map[string]string `bake:"image_properties,numbers" json:"image_properties,omitempty" help:"Properties of the image, such as {\"hw_scsi_model\": \"virtio-scsi\"}. They count more than what image_hardware says."`
	Hardware    *hardware.Options `bake:"image_hardware" json:"image_hardware,omitempty" help:"What servers of the image are made of, as properties hw_* and os_*: firmware, secure_boot, tpm, disk_bus, nic, display, guest_os, and memory as the least one." default:"the firmware that the disk boots by, and the cloud's own choice"`
	GuestAgent  bool              `bake:"guest_agent" json:"guest_agent,omitempty" help:"The image has QEMU's guest agent: the cloud talks to it, and freezes its file systems for snapshots."`
	ViaImport   string            `bake:"upload" json:"upload,omitempty" help:"How a disk is uploaded: by Glance's interoperable import, which operators may check and convert images in, directly, or by web-download: the cloud fetches the disk from this host, which serves it by HTTP at an address that nobody can guess, for as long as that takes." default:"import where the cloud offers it, else direct" choices:"import|direct|web-download"`
	Serve       string            `bake:"serve" json:"serve,omitempty" help:"The address and port of this host that the cloud fetches the disk from, such as 203.0.113.7:80, for upload = \"web-download\". Glance takes ports 80 and 443 alone, unless it is told otherwise." default:"the address that reaches the image service, and a free port"`

	publish.Retention

	RetireShared bool `bake:"retire_shared" json:"retire_shared,omitempty" help:"keep also removes images that others than the project may use, whose servers cannot be seen."`
}

// Values of upload.
const (
	uploadImport = "import"
	uploadDirect = "direct"
	uploadWeb    = "web-download"
)

const settingVisibility = "visibility"

// Check implements platforms.OptionChecker.
func (p *Publication) Check() error {
	if err := checkNames("image_properties", p.Properties); err != nil {
		return err
	}
	for name := range p.Properties {
		if slices.Contains(fields, name) {
			return fmt.Errorf("image_properties: %q: is a field of the image's own, and not a property", name)
		}
	}
	for _, label := range p.Labels {
		if label == "" || len(label) > nameMost {
			return fmt.Errorf("image_labels: %q: a tag has 1 to %d characters", label, nameMost)
		}
	}
	if _, err := wholeGiB("min_disk", p.MinDisk); err != nil {
		return err
	}
	if _, err := p.minRAM(); err != nil {
		return err
	}
	switch {
	case len(p.ImageName) > nameMost:
		return fmt.Errorf("image_name: it has %d characters, and Glance takes %d", len(p.ImageName), nameMost)
	case p.Compression != "" && p.format() != formatQcow2:
		return fmt.Errorf("image_compression: is for qcow2 images, and this one is %s", p.format())
	case p.Accept && len(p.Members) == 0:
		return errors.New("accept_members: needs members")
	case p.Serve != "" && p.ViaImport != uploadWeb:
		return fmt.Errorf("serve: is for upload = %q", uploadWeb)
	case len(p.Members) > 0 && p.Visibility != "" && p.Visibility != "shared":
		return fmt.Errorf("members: an image that is %s has none: leave visibility out", p.Visibility)
	}
	if p.Serve != "" {
		if _, err := netip.ParseAddrPort(p.Serve); err != nil {
			return fmt.Errorf("serve: %q is not an address with a port, such as 203.0.113.7:80", p.Serve)
		}
	}
	if p.Hardware != nil {
		if _, err := hardwareProperties(p.Hardware, "", "amd64"); err != nil {
			return fmt.Errorf("image_hardware: %w", err)
		}
		if err := p.Hardware.Check(); err != nil {
			return fmt.Errorf("image_hardware: %w", err)
		}
	}
	return p.Retention.Check()
}

// fields are the image's own.
var fields = []string{
	"id", "name", "status", "visibility", "owner", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "os_hidden", "protected", "min_disk", "min_ram",
	"tags", "disk_format", "container_format", "created_at", "updated_at", "file", "self", "schema", "locations", "direct_url", "stores",
}

// minRAM returns the least memory in MiB.
func (p *Publication) minRAM() (int, error) {
	text := p.MinRAM
	if text == "" && p.Hardware != nil {
		text = p.Hardware.Memory
	}
	return whole("min_ram", text, 1<<20, "MiB")
}

// Formats of images that a raw disk is put into while it is uploaded.
const (
	formatRaw   = "raw"
	formatQcow2 = "qcow2"
	formatVMDK  = "vmdk"
)

func (p *Publication) format() string { return cmp.Or(p.ImageFormat, formatQcow2) }

// compression is that of a qcow2 image.
func (p *Publication) compression() qcow2.Compression {
	if p.Compression == "zlib" {
		return qcow2.Zlib
	}
	return qcow2.Zstd
}

// takes returns the format of the disk that the image is made from.
func (p *Publication) takes() string {
	switch f := p.format(); f {
	case formatQcow2, formatVMDK:
		return formatRaw
	default:
		return f
	}
}

// identity returns what names the image: what can be changed of it is not in it.
func (p *Publication) identity(of platforms.Publication, project string) (string, error) {
	format := p.format()
	if of.Arch == "" {
		format = p.ImageFormat // a layer has the cloud's own, or that which its volume is uploaded in
	}
	return publish.Identify("glance 1", project, of, struct {
		Name        string `json:"name,omitempty"`
		Format      string `json:"format,omitempty"`
		Compression string `json:"compression,omitempty"`
	}{p.ImageName, format, p.Compression})
}

// properties are those of the image, but for marks.
func (p *Publication) properties(boot, arch string) (map[string]string, error) {
	h := p.Hardware
	if h == nil {
		h = &hardware.Options{}
	}
	all, err := hardwareProperties(h, boot, arch)
	if err != nil {
		return nil, &platforms.OptionError{Err: fmt.Errorf("image_hardware: %w", err)}
	}
	if p.GuestAgent {
		all["hw_qemu_guest_agent"] = "yes"
	}
	if arch != "" && p.format() == formatVMDK {
		all["vmware_disktype"] = "streamOptimized"
		if bus := all["hw_scsi_model"]; bus == "" {
			all["vmware_adaptertype"] = "lsiLogic"
		}
	}
	maps.Copy(all, p.Properties)
	return all, nil
}

// settings are what a later definition may leave out.
func (p *Publication) settings(properties map[string]string) (list []string) {
	for name := range properties {
		list = append(list, "property "+name)
	}
	for _, label := range p.Labels {
		list = append(list, "label "+label)
	}
	for _, member := range p.Members {
		list = append(list, "member "+member)
	}
	if p.Visibility != "" {
		list = append(list, settingVisibility)
	}
	return list
}

// hardwareProperties are Nova's and libosinfo's words for a machine: see Glance's "Useful
// image properties". boot is how the disk starts, and arch is "" where nobody says.
func hardwareProperties(o *hardware.Options, boot, arch string) (map[string]string, error) {
	p := map[string]string{}
	set := func(name, value string) {
		if value != "" {
			p[name] = value
		}
	}
	switch {
	case o.DiskBus == "nvme":
		return nil, errors.New("disk_bus: Nova attaches no disk by nvme")
	case o.HardwareVersion != 0:
		return nil, errors.New("hardware_version: is VMware's, and no property of an image")
	case o.Network != "":
		return nil, errors.New("network: who makes a server says which networks it has")
	case o.CPUs != 0:
		return nil, errors.New("cpus: the flavor of a server says how many it has")
	}
	uefi := o.UEFI() || o.Firmware == "" && boot == "uefi"
	switch {
	case uefi:
		p["hw_firmware_type"] = "uefi"
		if arch == "amd64" {
			p["hw_machine_type"] = "q35" // Nova's usual one has no UEFI with variables
		}
	case o.Firmware != "" || boot == "bios":
		p["hw_firmware_type"] = "bios"
	}
	if arch == "arm64" {
		p["hw_machine_type"] = "virt"
	}
	set("hw_architecture", map[string]string{"amd64": "x86_64", "arm64": "aarch64", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}[arch])
	if o.SecureBoot {
		p["os_secure_boot"] = "required"
	}
	if o.TPM {
		p["hw_tpm_version"], p["hw_tpm_model"] = "2.0", "tpm-crb"
	}
	bus := [2]string{o.DiskBus, ""}
	if model, ok := map[string]string{"scsi": "virtio-scsi", "lsilogic": "lsilogic", "lsisas": "lsisas1068", "pvscsi": "vmpvscsi"}[o.DiskBus]; ok {
		bus = [2]string{"scsi", model}
	}
	set("hw_disk_bus", bus[0])
	set("hw_scsi_model", bus[1])
	set("hw_vif_model", o.NIC)
	set("hw_video_model", o.Display)
	if o.Serial {
		p["hw_serial_port_count"] = "1"
	}
	guest(o.GuestOS, set)
	return p, nil
}

// guest names the system as libosinfo does: os_distro is the letters of its short id,
// os_version the rest.
func guest(name string, set func(name, value string)) {
	if name == "" {
		return
	}
	set("os_type", "linux")
	if strings.HasPrefix(name, "windows") {
		set("os_type", "windows")
		set("os_distro", "windows")
		return
	}
	g, _ := hardware.GuestNamed(name)
	distro := strings.TrimRight(g.OSInfo, "0123456789.")
	if name == "linux" || name == "other" || distro == "" {
		return
	}
	set("os_distro", strings.TrimSuffix(distro, "-unknown"))
	set("os_version", strings.TrimPrefix(g.OSInfo, distro))
}
