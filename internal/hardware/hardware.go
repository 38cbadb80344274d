// Package hardware is what a virtual machine is made of, said once for all that make
// machines or describe them: the function hardware() of the language, descriptors of
// exported images and the machines of hypervisors.
//
// Terms: a bus is what the machine's disks are attached by; a card is a network card; a
// guest is the operating system that a machine is meant for.
package hardware

import (
	"errors"
	"fmt"
	"strings"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
)

// Options are the arguments of hardware().
type Options struct {
	CPUs            int    `bake:"cpus,keyword" json:"cpus,omitempty" help:"Number of virtual CPUs." default:"2"`
	Memory          string `bake:"memory,size,keyword" json:"memory,omitempty" help:"Memory, a multiple of 4M." default:"2G in descriptors, the platform's on a platform"`
	GuestOS         string `bake:"guest_os,keyword" json:"guest_os,omitempty" help:"The operating system, by a name of the list above." default:"linux"`
	Firmware        string `bake:"firmware,keyword" json:"firmware,omitempty" help:"What the machine starts with." default:"uefi for an image that boots by UEFI alone, else bios" choices:"bios|uefi"`
	SecureBoot      bool   `bake:"secure_boot,keyword" json:"secure_boot,omitempty" help:"Start signed boot loaders only. Needs the firmware uefi."`
	TPM             bool   `bake:"tpm,keyword" json:"tpm,omitempty" help:"A TPM 2.0."`
	DiskBus         string `bake:"disk_bus,keyword" json:"disk_bus,omitempty" help:"What disks are attached by. scsi is the usual SCSI controller of each hypervisor: virtio's on QEMU, LSI Logic's elsewhere." default:"virtio on QEMU, sata in descriptors" choices:"virtio|scsi|lsilogic|lsisas|pvscsi|sata|ide|nvme"`
	NIC             string `bake:"nic,keyword" json:"nic,omitempty" help:"The network card." default:"virtio on QEMU, e1000 in descriptors" choices:"virtio|e1000|e1000e|vmxnet3|rtl8139|pcnet"`
	Network         string `bake:"network,keyword" json:"network,omitempty" help:"Name of the network that the card is connected to, in descriptors. VirtualBox takes NAT for its own, and any other name for a bridged one." default:"NAT"`
	HardwareVersion int    `bake:"hardware_version,keyword" json:"hardware_version,omitempty" help:"VMware's version of the virtual hardware, such as 19." default:"13, or 14 with tpm"`
	Serial          bool   `bake:"serial,keyword" json:"serial,omitempty" help:"A serial port, for the console. QEMU's machines have one anyway."`
	Display         string `bake:"display,keyword" json:"display,omitempty" help:"The graphics adapter." default:"vga in descriptors, none on QEMU" choices:"vga|none"`
}

// KindName implements platforms.KindNamer, for arguments of this type.
func (*Options) KindName() string { return "hardware" }

// What bounds the numbers: the largest machines of the hypervisors that read
// descriptors, with room to spare.
const (
	MostCPUs   = 768
	MostMemory = 24 << 40
	MostDisks  = 256

	leastMemory = 64 << 20
	memoryStep  = 4 << 20 // of vSphere

	leastVersion, mostVersion = 7, 30 // of VMware's hardware
)

// Check finds what no hypervisor can have.
func (o *Options) Check() error {
	memory, err := o.MemorySize()
	switch {
	case err != nil:
		return fmt.Errorf("memory: %w", err)
	case o.CPUs < 0 || o.CPUs > MostCPUs:
		return fmt.Errorf("cpus: %d: want 1 to %d", o.CPUs, MostCPUs)
	case memory != 0 && (memory < leastMemory || memory > MostMemory || memory%memoryStep != 0):
		return errors.New("memory: want a multiple of 4M, 64M at least and 24T at most")
	case o.SecureBoot && o.Firmware == "bios":
		return errors.New(`secure_boot: machines with a bios do not have it: leave firmware out, or set firmware = "uefi"`)
	case o.HardwareVersion != 0 && (o.HardwareVersion < leastVersion || o.HardwareVersion > mostVersion):
		return fmt.Errorf("hardware_version: %d: VMware has the versions %d to %d", o.HardwareVersion, leastVersion, mostVersion)
	case strings.ContainsFunc(o.Network, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("network: the name has a control character")
	}
	if o.GuestOS != "" {
		if _, ok := GuestNamed(o.GuestOS); !ok {
			return fmt.Errorf("guest_os: %q is not a name that bake knows%s", o.GuestOS, spell.Hint(o.GuestOS, "names", GuestNames()))
		}
	}
	return o.checkVersion()
}

// checkVersion refuses parts that VMware's hardware of a version has not.
func (o *Options) checkVersion() error {
	if v := o.HardwareVersion; v != 0 && v < o.leastVersion() {
		return fmt.Errorf("hardware_version: %d: what else is said takes version %d at least", v, o.leastVersion())
	}
	return nil
}

// leastVersion is the first version of VMware's hardware that has all that is said.
func (o *Options) leastVersion() int {
	switch {
	case o.TPM:
		return 14
	case o.SecureBoot || o.DiskBus == "nvme":
		return 13
	case o.DiskBus == "sata":
		return 10
	case o.Firmware == "uefi" || o.NIC == "e1000e":
		return 8
	}
	return leastVersion
}

// MemorySize returns the memory in bytes; 0 where it is not said.
func (o *Options) MemorySize() (int64, error) {
	if o.Memory == "" {
		return 0, nil
	}
	return platforms.ParseSize(o.Memory)
}

// UEFI reports whether the machine starts with UEFI firmware.
func (o *Options) UEFI() bool { return o.Firmware == "uefi" || o.SecureBoot }

// Described returns o with all that is not said as descriptors have it. uefi says that
// the image boots by UEFI alone.
func (o Options) Described(uefi bool) Options {
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	if o.Memory == "" {
		o.Memory = "2G"
	}
	if o.Firmware == "" {
		o.Firmware = "bios"
		if uefi || o.SecureBoot {
			o.Firmware = "uefi"
		}
	}
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&o.GuestOS, "linux")
	set(&o.DiskBus, "sata")
	set(&o.NIC, "e1000")
	set(&o.Network, "NAT")
	set(&o.Display, "vga")
	if o.HardwareVersion == 0 {
		o.HardwareVersion = max(13, o.leastVersion())
	}
	return o
}
