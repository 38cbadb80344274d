package ovf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A bus is a kind of controller for disks, and how each flavor calls it.
type bus struct {
	name       string
	kind       int    // of the item
	vmware     string // ResourceSubType for VMware's readers; "" where VMware has none
	virtualBox string // for VirtualBox' reader
	controller string // type of vbox:StorageController
}

func buses() []bus {
	return []bus{
		{"sata", itemStorage, "vmware.sata.ahci", "AHCI", "AHCI"},
		{"scsi", itemSCSI, "lsilogic", "lsilogic", "LsiLogic"},
		{"lsilogic", itemSCSI, "lsilogic", "lsilogic", "LsiLogic"},
		{"lsisas", itemSCSI, "lsilogicsas", "lsilogicsas", "LsiLogicSas"},
		{"pvscsi", itemSCSI, "VirtualSCSI", "", ""},
		{"nvme", itemStorage, "vmware.nvme.controller", "NVMe", "NVMe"},
		{"virtio", itemStorage, "", "VirtioSCSI", "VirtioSCSI"},
		{"ide", itemIDE, "PIIX4", "PIIX4", "PIIX4"},
	}
}

// bus returns the controller of the machine's disks, and its subtype for the flavor.
func (d *descriptor) bus() (bus, string, error) {
	all := buses()
	b := all[slices.IndexFunc(all, func(b bus) bool { return b.name == d.o.DiskBus })]
	subtype := b.vmware
	if d.flavor == VirtualBox {
		subtype = b.virtualBox
	}
	if subtype == "" || d.flavor == Generic && b.name == "virtio" {
		return b, "", fmt.Errorf("disk_bus: %s is not known to readers of the flavor %s: choose another, such as sata", b.name, d.flavor)
	}
	return b, subtype, nil
}

// card returns the network card's subtype for the flavor.
func (d *descriptor) card() (string, error) {
	names := map[string]string{"e1000": "E1000", "e1000e": "E1000e", "vmxnet3": "VmxNet3", "pcnet": "PCNet32"}
	if d.flavor == VirtualBox {
		names = map[string]string{"e1000": "E1000", "virtio": "virtio", "pcnet": "PCNet32"}
	}
	name, ok := names[d.o.NIC]
	if !ok {
		return "", fmt.Errorf("nic: %s is not known to readers of the flavor %s: choose another, such as e1000", d.o.NIC, d.flavor)
	}
	return name, nil
}

// An item is one of the virtual hardware.
type item struct {
	kind        int
	subtype     string
	name        string
	description string
	address     string // of a controller
	parent      int    // instance of the controller
	onParent    string
	units       string
	quantity    int64
	connection  string // name of the network
	host        string // what it shows of the package
	mac         string
	allocated   string // "true" or "false": whether the device is there at the start
	optional    bool
}

// add writes an item and returns its instance. The elements stand in the order of their
// names, as the schemas have them.
func (d *descriptor) add(i item) int {
	d.instance++
	element, prefix := "Item", "rasd:"
	if d.version == "2.0" && i.kind == itemDisk {
		element, prefix = "StorageItem", "sasd:"
	}
	if d.version == "2.0" && i.kind == itemEthernet {
		element, prefix = "EthernetPortItem", "epasd:"
	}
	if i.optional {
		d.open(element, "ovf:required", "false")
	} else {
		d.open(element)
	}
	say := func(name, value string) {
		if value != "" {
			d.text(prefix+name, value)
		}
	}
	address := i.address
	if i.mac != "" {
		address = i.mac
	}
	say("Address", address)
	say("AddressOnParent", i.onParent)
	say("AllocationUnits", i.units)
	say("AutomaticAllocation", i.allocated)
	say("Caption", i.name)
	say("Connection", i.connection)
	say("Description", i.description)
	say("ElementName", i.name)
	say("HostResource", i.host)
	say("InstanceID", strconv.Itoa(d.instance))
	if i.parent != 0 {
		say("Parent", strconv.Itoa(i.parent))
	}
	say("ResourceSubType", i.subtype)
	say("ResourceType", strconv.Itoa(i.kind))
	if i.quantity != 0 {
		say("VirtualQuantity", strconv.FormatInt(i.quantity, 10))
	}
	d.close()
	return d.instance
}

// family is the type of machine that readers compare with those that they know.
func (d *descriptor) family() string {
	if d.flavor == VirtualBox {
		return "virtualbox-2.2"
	}
	return fmt.Sprintf("vmx-%02d", d.o.HardwareVersion)
}

func (d *descriptor) hardware() {
	var attrs []string
	if len(d.m.Properties) > 0 {
		transport := d.m.Transport
		if len(transport) == 0 {
			transport = []string{"com.vmware.guestInfo"}
		}
		attrs = []string{"ovf:transport", strings.Join(transport, " ")}
	}
	d.open("VirtualHardwareSection", attrs...)
	d.text("Info", "The hardware of the machine")
	d.open("System")
	d.text("vssd:ElementName", "Virtual Hardware Family")
	d.text("vssd:InstanceID", "0")
	d.text("vssd:VirtualSystemIdentifier", d.m.Name)
	d.text("vssd:VirtualSystemType", d.family())
	d.close()
	d.computer()
	d.attached()
	if d.o.Serial && d.flavor != VirtualBox {
		d.add(item{kind: itemSerial, subtype: "vmware.serialport.device", name: "Serial port", description: "Serial port", allocated: "false", optional: true})
	}
	if d.o.Display == "vga" && d.flavor != VirtualBox {
		d.add(item{kind: itemDisplay, name: "Graphics adapter", description: "Graphics adapter", allocated: "false", optional: true})
	}
	if d.o.TPM && d.flavor != VirtualBox {
		d.add(item{kind: itemOther, subtype: "vmware.vtpm", name: "TPM", description: "TPM 2.0", allocated: "false", optional: true})
	}
	d.config()
	d.close()
}

func (d *descriptor) computer() {
	memory, err := d.o.MemorySize()
	if err != nil {
		panic("ovf: the hardware was not checked: " + err.Error())
	}
	units := "byte * 2^20"
	if d.version == "1.0" {
		units = "MegaBytes"
	}
	d.add(item{kind: itemCPU, units: "hertz * 10^6", name: fmt.Sprintf("%d virtual CPUs", d.o.CPUs), description: "Number of virtual CPUs", quantity: int64(d.o.CPUs)})
	d.add(item{kind: itemMemory, units: units, name: fmt.Sprintf("%d MB of memory", memory>>20), description: "Memory size", quantity: memory >> 20})
}

// attached writes the controller, the disks and the network card.
func (d *descriptor) attached() {
	b, subtype, _ := d.bus()
	controller := d.add(item{kind: b.kind, subtype: subtype, name: b.name + " controller 0", description: b.name + " controller", address: "0"})
	for i := range d.m.Disks {
		d.add(item{kind: itemDisk, name: fmt.Sprintf("disk%d", i+1), description: "Disk", host: d.hostResource(i), parent: controller, onParent: strconv.Itoa(i)})
	}
	card, _ := d.card()
	d.add(item{kind: itemEthernet, subtype: card, name: "Ethernet adapter on " + d.o.Network, description: "Network card", connection: d.o.Network, onParent: "7", allocated: "true"})
}

func (d *descriptor) hostResource(disk int) string {
	if d.flavor == VirtualBox {
		return "/disk/" + diskID(disk)
	}
	return "ovf:/disk/" + diskID(disk)
}

// config writes what VMware's extension says of the hardware.
func (d *descriptor) config() {
	if d.flavor == VirtualBox {
		return
	}
	firmware := "bios"
	if d.o.UEFI() {
		firmware = "efi"
	}
	say := func(key, value string) {
		d.empty("vmw:Config", "ovf:required", "false", "vmw:key", key, "vmw:value", value)
	}
	say("firmware", firmware)
	if d.o.UEFI() {
		say("bootOptions.efiSecureBootEnabled", strconv.FormatBool(d.o.SecureBoot))
	}
}

// vboxMachine writes the settings of the machine as VirtualBox has them. They say the
// order of devices to boot from, firmware, serial port and the kind of network, which
// its reader takes from here only. The version is that of VirtualBox 7.0; a later one
// converts it.
func (d *descriptor) vboxMachine() {
	memory, _ := d.o.MemorySize()
	d.open("vbox:Machine", "ovf:required", "false", "version", "1.19-linux", "uuid", "{"+d.m.UUID+"}",
		"name", d.m.Name, "OSType", d.guest.VirtualBox, "snapshotFolder", "Snapshots")
	d.text("ovf:Info", "The machine as VirtualBox has it")
	d.open("Hardware")
	d.open("CPU", "count", strconv.Itoa(d.o.CPUs))
	d.empty("PAE", "enabled", "true")
	d.empty("LongMode", "enabled", "true")
	d.close()
	d.empty("Memory", "RAMSize", strconv.FormatInt(memory>>20, 10))
	if d.o.UEFI() {
		d.empty("Firmware", "type", "EFI")
	}
	d.open("Boot")
	for i, device := range []string{"HardDisk", "None", "None", "None"} {
		d.empty("Order", "position", strconv.Itoa(i+1), "device", device)
	}
	d.close()
	if d.o.Display == "vga" {
		d.empty("Display", "controller", "VMSVGA", "VRAMSize", "16")
	}
	d.open("BIOS")
	d.empty("IOAPIC", "enabled", "true")
	d.close()
	d.vboxNetwork()
	if d.o.Serial {
		d.open("UART")
		d.empty("Port", "slot", "0", "enabled", "true", "IOBase", "0x3f8", "IRQ", "4", "hostMode", "Disconnected")
		d.close()
	}
	d.vboxStorage()
	d.close()
	d.close()
}

func (d *descriptor) vboxNetwork() {
	card := map[string]string{"e1000": "82540EM", "virtio": "virtio", "pcnet": "Am79C973"}[d.o.NIC]
	d.open("Network")
	attrs := []string{"slot", "0", "enabled", "true"}
	if d.m.MAC != "" {
		attrs = append(attrs, "MACAddress", d.m.MAC)
	}
	d.open("Adapter", append(attrs, "type", card)...)
	if d.o.Network == "NAT" {
		d.empty("NAT")
	} else {
		d.empty("BridgedInterface")
	}
	d.close()
	d.close()
}

func (d *descriptor) vboxStorage() {
	b, _, _ := d.bus()
	d.open("StorageControllers")
	d.open("StorageController", "name", strings.ToUpper(b.name), "type", b.controller,
		"PortCount", strconv.Itoa(max(1, len(d.m.Disks))), "useHostIOCache", strconv.FormatBool(b.kind == itemIDE), "Bootable", "true")
	for i, disk := range d.m.Disks {
		d.open("AttachedDevice", "type", "HardDisk", "hotpluggable", "false", "port", strconv.Itoa(i), "device", "0")
		d.empty("Image", "uuid", "{"+disk.UUID+"}")
		d.close()
	}
	d.close()
	d.close()
}

// busOf returns the bus that an item of a descriptor is a controller of, or "".
func busOf(kind int, subtype string) string {
	for _, b := range buses() {
		if b.kind == kind && b.name != "scsi" && (strings.EqualFold(subtype, b.vmware) && b.vmware != "" || strings.EqualFold(subtype, b.virtualBox) && b.virtualBox != "") {
			return b.name
		}
	}
	switch {
	case kind == itemIDE:
		return "ide"
	case kind == itemSCSI: // such as "buslogic", or nothing
		return "lsilogic"
	case kind == itemStorage && (subtype == "" || strings.Contains(strings.ToLower(subtype), "sata")):
		return "sata"
	case kind == itemStorage && strings.Contains(strings.ToLower(subtype), "virtio"):
		return "virtio"
	}
	return ""
}

// cardOf returns the network card of a subtype, which may list several; "" is what is
// not known.
func cardOf(subtype string) string {
	for name := range strings.FieldsSeq(strings.ToLower(subtype)) {
		switch {
		case strings.HasPrefix(name, "vmxnet"):
			return "vmxnet3"
		case name == "e1000", name == "e1000e":
			return name
		case strings.HasPrefix(name, "pcnet"):
			return "pcnet"
		case strings.HasPrefix(name, "virtio"):
			return "virtio"
		}
	}
	return ""
}
