package qemu

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	virtual "bake.build/bake/internal/hardware"
	"bake.build/bake/internal/regular"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/installer"
	"bake.build/bake/platforms/ssh"
)

// Name is the platform's name in definitions.
const Name = "qemu"

// Options are the options of qemu().
type Options struct {
	Memory    string   `bake:"memory,size" json:"memory,omitempty" help:"Memory of a machine." default:"1G"`
	CPUs      int      `bake:"cpus" json:"cpus,omitempty" help:"Number of virtual CPUs." default:"2"`
	Arch      string   `bake:"arch" json:"arch,omitempty" help:"The architecture of the machines." default:"the host's" choices:"amd64|arm64"`
	Accel     string   `bake:"accel" json:"accel,omitempty" help:"How the virtual CPUs run. auto runs a few instructions with the host's accelerator and takes software emulation (tcg), with a warning, when that does not work." default:"auto" choices:"auto|kvm|hvf|whpx|tcg"`
	CPU       string   `bake:"cpu" json:"cpu,omitempty" help:"The model of the virtual CPUs, as QEMU names it." default:"host with an accelerator; max without, less what is slow to emulate"`
	Machine   string   `bake:"machine" json:"machine,omitempty" help:"The type of the machine, as QEMU names it." default:"pc with bios, q35 with uefi, virt on arm64"`
	Firmware  string   `bake:"firmware,ref" json:"firmware,omitempty" help:"bios, uefi, or the path of a UEFI firmware image." default:"bios on amd64, uefi on arm64"`
	Variables string   `bake:"firmware_variables,path" json:"firmware_variables,omitempty" help:"The variable store that goes with a UEFI firmware given by its path: the template that each machine gets a copy of."`
	DiskSize  string   `bake:"disk_size,size" json:"disk_size,omitempty" help:"The size of the disk. A disk origin that is smaller grows to it; the partitions are the image's own business." default:"the origin's, 8G for an installer"`
	Disks     []string `bake:"disks" json:"disks,omitempty" help:"The sizes of further disks, which are empty at first. They are part of the layers, and not of artifacts."`
	Bridge    string   `bake:"bridge" json:"bridge,omitempty" help:"A bridge of the host that a second network card is connected to, by QEMU's bridge helper. Steps always have QEMU's own network, through which bake reaches the machine."`
	DiskBus   string   `bake:"disk_bus" json:"disk_bus,omitempty" help:"What disks are attached by. The guest's names for them follow from it: /dev/vda with virtio, /dev/nvme0n1 with nvme, /dev/sda with all others. scsi is virtio's controller; lsilogic is LSI Logic's SAS controller, since QEMU has no other of theirs that systems of today know." default:"virtio" choices:"virtio|scsi|lsilogic|lsisas|pvscsi|sata|ide|nvme"`
	NIC       string   `bake:"nic" json:"nic,omitempty" help:"The network card." default:"virtio" choices:"virtio|e1000|e1000e|vmxnet3|rtl8139|pcnet"`
	TPM       bool     `bake:"tpm" json:"tpm,omitempty" help:"Give each machine a new TPM 2.0, emulated by swtpm."`

	ssh.Login

	BootCommand []string         `bake:"boot_command" json:"boot_command,omitempty" help:"Keys typed at each start of a machine from its disk, such as the passphrase of an encrypted disk, in the form of source()'s boot_command. The text is not treated as a secret. For an installer, source()'s boot_command is typed instead."`
	BootWait    string           `bake:"boot_wait,duration" json:"boot_wait,omitempty" help:"Delay between a start and the typing of boot_command." default:"10s"`
	Resume      string           `bake:"resume" json:"resume,omitempty" help:"What a machine on a layer starts from: memory resumes the one that made the layer, where its memory was kept, and boot always boots. The memory of a machine that was given a password is not kept." default:"memory" choices:"memory|boot"`
	Hardware    *virtual.Options `bake:"hardware" json:"hardware,omitempty" help:"What hardware() says of the machines: cpus, memory, firmware, secure_boot, tpm, disk_bus and nic. An option that is given here as well counts more."`
	Args        []string         `bake:"args" json:"args,omitempty" help:"Additional arguments for QEMU."`
}

// settings are the options as they hold.
type settings struct {
	memory   int64 // bytes
	cpus     int
	arch     string
	accel    string
	cpu      string // "" means the accelerator's default
	machine  string
	firmware firmware
	diskSize int64 // bytes; 0 means the origin's
	disks    []int64
	bridge   string
	tpm      bool
	diskBus  string
	nic      string
	login    ssh.Login
	bootKeys []installer.Stroke // typed at each start
	bootWait time.Duration
	resume   bool
	args     []string
}

// traits are what all layers of such machines are.
func (s settings) traits() platforms.Traits {
	if s.firmware.uefi {
		return platforms.Traits{Arch: s.arch, Boot: "uefi"}
	}
	return platforms.Traits{Arch: s.arch, Boot: "bios"}
}

// withHardware returns o with what the hardware says, where o does not say it itself.
func (o Options) withHardware() Options {
	h := o.Hardware
	if h == nil {
		return o
	}
	o.CPUs, o.Memory, o.Firmware = cmp.Or(o.CPUs, h.CPUs), cmp.Or(o.Memory, h.Memory), cmp.Or(o.Firmware, h.Firmware)
	o.DiskBus, o.NIC, o.TPM = cmp.Or(o.DiskBus, h.DiskBus), cmp.Or(o.NIC, h.NIC), o.TPM || h.TPM
	if h.SecureBoot {
		o.Firmware = cmp.Or(o.Firmware, "uefi")
	}
	return o
}

func (o Options) settings() (settings, error) {
	o = o.withHardware()
	s := settings{
		memory: 1 << 30, cpus: o.CPUs, arch: cmp.Or(o.Arch, runtime.GOARCH), accel: cmp.Or(o.Accel, "auto"),
		cpu: o.CPU, machine: o.Machine, bridge: o.Bridge, tpm: o.TPM, login: o.Login,
		diskBus: cmp.Or(o.DiskBus, "virtio"), nic: cmp.Or(o.NIC, "virtio"),
		resume: o.Resume != "boot" && !o.TellsSecret() && o.DiskBus != "nvme", args: o.Args,
	}
	switch {
	case s.arch != "amd64" && s.arch != "arm64":
		return s, fmt.Errorf("option arch: machines of %s are not known: give amd64 or arm64", s.arch)
	case o.CPUs < 0:
		return s, fmt.Errorf("option cpus: %d is less than zero", o.CPUs)
	case o.CPUs == 0:
		s.cpus = 2
	}
	var err error
	if s.memory, err = sizeOr(o.Memory, s.memory); err != nil {
		return s, fmt.Errorf("option memory: %w", err)
	}
	if s.memory < 64<<20 || s.memory%(2<<20) != 0 {
		return s, errors.New("option memory: want a multiple of 2M, and 64M at least")
	}
	if s.diskSize, err = sizeOr(o.DiskSize, 0); err != nil {
		return s, fmt.Errorf("option disk_size: %w", err)
	}
	if s.diskSize%512 != 0 {
		return s, errors.New("option disk_size: want a multiple of 512 bytes")
	}
	for _, text := range o.Disks {
		n, err := platforms.ParseSize(text)
		if err != nil {
			return s, fmt.Errorf("option disks: %w", err)
		}
		s.disks = append(s.disks, n)
	}
	if err := o.Login.Check(); err != nil {
		return s, fmt.Errorf("option %w", err)
	}
	s.login.User = cmp.Or(o.User, "root")
	if s.bootKeys, err = installer.ParseKeys(o.BootCommand, ""); err != nil {
		return s, err
	}
	if s.bootWait, err = installer.BootWait(o.BootWait); err != nil {
		return s, err
	}
	if s.firmware, err = o.firmware(s.arch); err != nil {
		return s, err
	}
	if s.machine == "" {
		s.machine = defaultMachine(s.arch, s.firmware, s.diskBus)
	}
	return s, s.checkHardware()
}

// checkHardware refuses parts that do not go together.
func (s settings) checkHardware() error {
	switch {
	case s.diskBus == "ide" && s.arch == "arm64":
		return errors.New("option disk_bus: machines of arm64 have no ide: sata is the next to it")
	case s.diskBus == "ide" && strings.HasPrefix(s.machine, "q35"):
		return errors.New("option disk_bus: machines of the type q35 have no ide: sata is the next to it")
	case s.diskBus == "ide" && len(s.disks) > ideDisks-2: // the seed takes one
		return fmt.Errorf("option disk_bus: ide has room for %d disks", ideDisks)
	case s.firmware.uefi && s.firmware.code == "" && slices.Contains(biosOnly, s.diskBus):
		return fmt.Errorf("option disk_bus: the UEFI firmware that is packaged for QEMU does not boot from %s: scsi, sata and nvme are near to it, or give firmware by its path", s.diskBus)
	case s.firmware.secure && s.arch == "arm64":
		return errors.New("option hardware: bake knows no firmware with secure_boot for arm64: give firmware and firmware_variables")
	}
	return nil
}

func (o Options) firmware(arch string) (firmware, error) {
	name := cmp.Or(o.Firmware, "bios")
	if arch == "arm64" {
		name = cmp.Or(o.Firmware, "uefi")
	}
	switch {
	case name == "bios" && arch == "arm64":
		return firmware{}, errors.New("option firmware: machines of arm64 have no bios")
	case name != "bios" && name != "uefi" && !strings.ContainsAny(name, `/\`):
		return firmware{}, fmt.Errorf("option firmware: %q is neither bios nor uefi nor a path", name)
	case name == "bios" || name == "uefi":
		if o.Variables != "" {
			return firmware{}, errors.New("option firmware_variables: belongs to a firmware given by its path")
		}
		secure := o.Hardware != nil && o.Hardware.SecureBoot
		if secure && name == "bios" {
			return firmware{}, errors.New("option firmware: the hardware has secure_boot, and a machine with bios does not")
		}
		return firmware{uefi: name == "uefi", secure: secure}, nil
	case o.Variables == "":
		return firmware{}, errors.New("option firmware: a firmware given by its path needs firmware_variables beside it")
	}
	return firmware{uefi: true, code: name, vars: o.Variables}, nil
}

// defaultMachine is the type of the machine that has the other parts. Secure Boot takes
// the memory of system management, which pc does not have.
func defaultMachine(arch string, f firmware, bus string) string {
	switch {
	case arch == "arm64":
		return "virt"
	case f.secure, f.uefi && bus != "ide":
		return "q35"
	}
	return "pc"
}

func sizeOr(text string, n int64) (int64, error) {
	if text == "" {
		return n, nil
	}
	return platforms.ParseSize(text)
}

// fingerprint names what of the options can change the bytes of a layer: the
// hardware that the guest sees and installs for. How fast and how large it is
// does not count.
func (s settings) fingerprint() (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "qemu/1 %s %s uefi:%t", s.arch, s.machine, s.firmware.uefi)
	for _, path := range []string{s.firmware.code, s.firmware.vars} {
		if path == "" {
			continue
		}
		digest, err := digestOf(path)
		if err != nil {
			return "", fmt.Errorf("option firmware: %w", err)
		}
		fmt.Fprintf(&b, " %s", digest)
	}
	fmt.Fprintf(&b, " cpu:%s disk:%d disks:%d bridge:%t tpm:%t args:%q", s.cpu, s.diskSize, s.disks, s.bridge != "", s.tpm, s.args)
	if s.diskBus != "virtio" || s.nic != "virtio" || s.firmware.secure {
		fmt.Fprintf(&b, " bus:%s nic:%s secure:%t", s.diskBus, s.nic, s.firmware.secure)
	}
	return b.String(), nil
}

func digestOf(path string) (digest string, err error) {
	f, err := regular.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
