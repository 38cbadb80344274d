package vmx

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/ovf"
)

// A bus is how disks are attached: the prefix of their keys, and the kind of controller.
type bus struct {
	name, prefix, device string
}

func buses() []bus {
	return []bus{
		{"sata", "sata0", ""},
		{"scsi", "scsi0", "lsilogic"},
		{"lsilogic", "scsi0", "lsilogic"},
		{"lsisas", "scsi0", "lsisas1068"},
		{"pvscsi", "scsi0", "pvscsi"},
		{"ide", "ide0", ""},
		{"nvme", "nvme0", ""},
	}
}

// cards are the network cards that VMware has, as its files call them.
var cards = map[string]string{"e1000": "e1000", "e1000e": "e1000e", "vmxnet3": "vmxnet3", "pcnet": "vlance"}

// Encode returns the VMX file of m, whose disks are in the same folder.
func Encode(m *ovf.Machine) ([]byte, error) {
	o := m.Hardware
	guest, ok := hardware.GuestNamed(o.GuestOS)
	if !ok {
		return nil, fmt.Errorf("guest_os: %q is not a name that bake knows", o.GuestOS)
	}
	memory, err := o.MemorySize()
	if err != nil {
		return nil, fmt.Errorf("memory: %w", err)
	}
	card, ok := cards[o.NIC]
	if !ok {
		return nil, fmt.Errorf("nic: VMware has no %s: choose another, such as e1000", o.NIC)
	}
	w := &writer{}
	w.say(".encoding", "UTF-8")
	w.say("config.version", "8")
	w.say("virtualHW.version", strconv.Itoa(o.HardwareVersion))
	w.say("virtualHW.productCompatibility", "hosted")
	w.say("displayName", m.Name)
	w.say("guestOS", guest.VMX())
	w.say("numvcpus", strconv.Itoa(o.CPUs))
	w.say("memsize", strconv.FormatInt(memory>>20, 10))
	w.say("nvram", m.Name+".nvram") // VMware makes it when it is not there
	if o.UEFI() {
		w.say("firmware", "efi")
		w.say("uefi.secureBoot.enabled", boolean(o.SecureBoot))
	}
	if o.TPM {
		w.say("managedvm.autoAddVTPM", "software")
	}
	if m.UUID != "" {
		w.say("uuid.bios", uuid(m.UUID))
		w.say("uuid.action", "create") // each copy gets its own
	}
	w.bridges()
	if err := w.disks(m); err != nil {
		return nil, err
	}
	w.network(o, card)
	if o.Serial {
		w.say("serial0.present", "TRUE")
		w.say("serial0.fileType", "file")
		w.say("serial0.fileName", m.Name+"-serial.log")
	}
	w.say("svga.present", boolean(o.Display != "none"))
	if m.Annotation != "" {
		w.say("annotation", m.Annotation)
	}
	return w.b.Bytes(), nil
}

type writer struct{ b bytes.Buffer }

// escaped are the characters that a value has as |xx: quotes, and what ends a line.
var escaped = strings.NewReplacer("|", "|7C", `"`, "|22", "\n", "|0A", "\r", "|0D")

// Line returns the line that gives a key its value.
func Line(key, value string) string {
	return fmt.Sprintf("%s = \"%s\"\n", key, escaped.Replace(value))
}

func (w *writer) say(key, value string) { w.b.WriteString(Line(key, value)) }

func boolean(b bool) string { return strings.ToUpper(strconv.FormatBool(b)) }

// uuid writes a UUID as VMX files do: bytes in hex, with a dash in their middle.
func uuid(s string) string {
	s = strings.ReplaceAll(s, "-", "")
	var pairs []string
	for i := 0; i+1 < len(s); i += 2 {
		pairs = append(pairs, s[i:i+2])
	}
	half := len(pairs) / 2
	return strings.Join(pairs[:half], " ") + "-" + strings.Join(pairs[half:], " ")
}

// bridges gives the machine the PCI Express ports that its devices are put behind.
func (w *writer) bridges() {
	w.say("pciBridge0.present", "TRUE")
	for _, n := range []string{"4", "5", "6", "7"} {
		w.say("pciBridge"+n+".present", "TRUE")
		w.say("pciBridge"+n+".virtualDev", "pcieRootPort")
		w.say("pciBridge"+n+".functions", "8")
	}
	w.say("vmci0.present", "TRUE")
	w.say("hpet0.present", "TRUE")
}

func (w *writer) disks(m *ovf.Machine) error {
	for _, b := range buses() {
		if b.name != m.Hardware.DiskBus {
			continue
		}
		w.say(b.prefix+".present", "TRUE")
		if b.device != "" {
			w.say(b.prefix+".virtualDev", b.device)
		}
		for i, d := range m.Disks {
			w.say(fmt.Sprintf("%s:%d.present", b.prefix, i), "TRUE")
			w.say(fmt.Sprintf("%s:%d.fileName", b.prefix, i), d.File)
		}
		return nil
	}
	return fmt.Errorf("disk_bus: VMware has no %s: choose another, such as sata", m.Hardware.DiskBus)
}

func (w *writer) network(o hardware.Options, card string) {
	w.say("ethernet0.present", "TRUE")
	w.say("ethernet0.virtualDev", card)
	w.say("ethernet0.addressType", "generated")
	switch kind := strings.ToLower(o.Network); kind {
	case "nat", "hostonly":
		w.say("ethernet0.connectionType", kind)
	case "bridged":
		w.say("ethernet0.connectionType", kind)
		w.say("ethernet0.networkName", o.Network) // libvirt wants one
	default:
		w.say("ethernet0.connectionType", "custom")
		w.say("ethernet0.vnet", o.Network)
		w.say("ethernet0.networkName", o.Network)
	}
}
