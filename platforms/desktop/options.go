package desktop

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/installer"
	"bake.build/bake/platforms/ssh"
)

// Options are the options of a platform of a desktop hypervisor, which embeds them in its
// own.
type Options struct {
	Memory   string            `bake:"memory,size" json:"memory,omitempty" help:"Memory of a machine." default:"what an origin says of its machine, else 1G"`
	CPUs     int               `bake:"cpus" json:"cpus,omitempty" help:"Number of virtual CPUs." default:"what an origin says of its machine, else 2"`
	Firmware string            `bake:"firmware" json:"firmware,omitempty" help:"What a machine starts with." default:"what an origin says of its machine, else bios" choices:"bios|uefi"`
	DiskBus  string            `bake:"disk_bus" json:"disk_bus,omitempty" help:"What disks are attached by." default:"what an origin says of its machine, else sata" choices:"virtio|scsi|lsilogic|lsisas|pvscsi|sata|ide|nvme"`
	NIC      string            `bake:"nic" json:"nic,omitempty" help:"The network card." default:"what an origin says of its machine, else e1000" choices:"virtio|e1000|e1000e|vmxnet3|rtl8139|pcnet"`
	GuestOS  string            `bake:"guest_os" json:"guest_os,omitempty" help:"The operating system, by a name of hardware()." default:"what an origin says of its machine, else linux"`
	Hardware *hardware.Options `bake:"hardware" json:"hardware,omitempty" help:"What hardware() says of the machines. An option that is given here as well counts more."`
	DiskSize string            `bake:"disk_size,size" json:"disk_size,omitempty" help:"The size of the disk. A disk origin that is smaller grows to it; the partitions are the image's own business." default:"the origin's, 8G for an installer"`
	GUI      bool              `bake:"gui" json:"gui,omitempty" help:"Show the window of each machine."`

	BootCommand []string `bake:"boot_command" json:"boot_command,omitempty" help:"Keys typed at each start of a machine from its disk, such as the passphrase of an encrypted disk, in the form of source()'s boot_command. For an installer, source()'s boot_command is typed instead."`
	BootWait    string   `bake:"boot_wait,duration" json:"boot_wait,omitempty" help:"Delay between a start and the typing of boot_command." default:"10s"`

	MaxMachines int `bake:"max_machines" json:"max_machines,omitempty" help:"How many machines run at once." default:"2"`

	ssh.Login
}

// defaultMachines is how many machines run at once where max_machines does not say.
const defaultMachines = 2

// settings are the options as they hold.
type settings struct {
	said     hardware.Options // without defaults
	diskSize int64            // bytes; 0 means the origin's
	gui      bool
	login    ssh.Login
	keys     []installer.Stroke // typed at each start
	keysWait time.Duration
	machines int
}

// Check implements platforms.OptionChecker.
func (o Options) Check() error {
	_, err := o.settings()
	return err
}

func (o Options) settings() (s settings, err error) {
	if o.Hardware != nil {
		s.said = *o.Hardware
	}
	s.said = merge(hardware.Options{
		Memory: o.Memory, CPUs: o.CPUs, Firmware: o.Firmware, DiskBus: o.DiskBus, NIC: o.NIC, GuestOS: o.GuestOS,
	}, s.said)
	if err := s.said.Check(); err != nil {
		return s, fmt.Errorf("option %w", err)
	}
	if o.DiskSize != "" {
		if s.diskSize, err = platforms.ParseSize(o.DiskSize); err != nil {
			return s, fmt.Errorf("option disk_size: %w", err)
		}
	}
	if s.diskSize%(1<<20) != 0 {
		return s, errors.New("option disk_size: want a multiple of 1M")
	}
	if err := o.Login.Check(); err != nil {
		return s, fmt.Errorf("option %w", err)
	}
	s.gui, s.login = o.GUI, o.Login
	s.login.User = cmp.Or(o.User, "root")
	if s.keys, err = installer.ParseKeys(o.BootCommand, ""); err != nil {
		return s, err
	}
	if s.keysWait, err = installer.BootWait(o.BootWait); err != nil {
		return s, err
	}
	if o.MaxMachines < 0 {
		return s, errors.New("option max_machines: want 1 at least")
	}
	s.machines = cmp.Or(o.MaxMachines, defaultMachines)
	return s, nil
}

// merge returns what a says, and what else b says.
func merge(a, b hardware.Options) hardware.Options {
	b.Memory, b.CPUs, b.GuestOS = cmp.Or(a.Memory, b.Memory), cmp.Or(a.CPUs, b.CPUs), cmp.Or(a.GuestOS, b.GuestOS)
	b.Firmware, b.DiskBus, b.NIC = cmp.Or(a.Firmware, b.Firmware), cmp.Or(a.DiskBus, b.DiskBus), cmp.Or(a.NIC, b.NIC)
	b.SecureBoot, b.TPM, b.Serial = a.SecureBoot || b.SecureBoot, a.TPM || b.TPM, a.Serial || b.Serial
	b.Network, b.Display = cmp.Or(a.Network, b.Network), cmp.Or(a.Display, b.Display)
	b.HardwareVersion = cmp.Or(a.HardwareVersion, b.HardwareVersion)
	return b
}

// hardware returns all of a machine: what the options say, else what the descriptor of
// its origin does, else what is usual.
func (s settings) hardware(described hardware.Options) hardware.Options {
	h := merge(s.said, described)
	if h.Memory == "" {
		h.Memory = "1G"
	}
	return h.Described(false)
}

// fingerprint is what of the options can change the bytes of a layer.
func (s settings) fingerprint(name string) (string, error) {
	h := s.said
	h.CPUs, h.Memory, h.Display, h.Serial = 0, "", "", false
	text, err := json.Marshal(struct {
		Hardware hardware.Options
		DiskSize int64  `json:",omitempty"`
		User     string `json:",omitempty"`
	}{h, s.diskSize, s.login.User})
	return name + "/1 " + string(text), err
}

// CheckParts is Check for a hypervisor that has certain buses and cards.
func (o Options) CheckParts(name string, buses, cards []string) error {
	if err := o.Check(); err != nil {
		return err
	}
	all := []hardware.Options{{DiskBus: o.DiskBus, NIC: o.NIC}}
	if o.Hardware != nil {
		all = append(all, *o.Hardware)
	}
	var errs []error
	for _, h := range all {
		errs = append(errs, refuse(name, h, buses, cards))
	}
	return errors.Join(errs...)
}

// refuse returns an error where the hardware has a part that a hypervisor does not: parts
// are the ones it has, by the option that names them.
func refuse(name string, h hardware.Options, buses, cards []string) error {
	for _, c := range []struct {
		option, value string
		has           []string
	}{{"disk_bus", h.DiskBus, buses}, {"nic", h.NIC, cards}} {
		if c.value != "" && !slices.Contains(c.has, c.value) {
			return fmt.Errorf("option %s: %s has no %s: it has %s", c.option, name, c.value, strings.Join(c.has, ", "))
		}
	}
	return nil
}
