package qemu

import "fmt"

// diskController is the name of the controller of the disks, where they have one.
const diskController = "disks"

// ideDisks is how many disks and CDs the machine's own IDE controller has room for.
const ideDisks = 4

// A bus is a way to attach disks.
type bus struct {
	controller string // QEMU's device; "" where the disks or the machine have their own
	device     string // of a disk
	cd         string // device of a read-only disk, which must not get a disk's name in the guest
	units      bool   // each disk has a bus of its own on the controller
}

// buses are QEMU's devices for each disk_bus. QEMU has no LSI53C1030, which VMware's LSI
// Logic controller is; the SAS controller of the same family stands for it.
var buses = map[string]bus{
	"virtio":   {device: "virtio-blk-pci", cd: "virtio-blk-pci"},
	"scsi":     {controller: "virtio-scsi-pci", device: "scsi-hd", cd: "scsi-cd"},
	"lsilogic": {controller: "mptsas1068", device: "scsi-hd", cd: "scsi-cd"},
	"lsisas":   {controller: "mptsas1068", device: "scsi-hd", cd: "scsi-cd"},
	"pvscsi":   {controller: "pvscsi", device: "scsi-hd", cd: "scsi-cd"},
	"sata":     {controller: "ich9-ahci", device: "ide-hd", cd: "ide-cd", units: true},
	"ide":      {device: "ide-hd", cd: "ide-cd"},
	"nvme":     {device: "nvme", cd: "virtio-blk-pci"},
}

// biosOnly are the buses that packages of EDK2 have no driver for, since 2022.
var biosOnly = []string{"lsilogic", "lsisas", "pvscsi"}

// cards are QEMU's devices for each nic.
var cards = map[string]string{
	"virtio": "virtio-net-pci", "e1000": "e1000", "e1000e": "e1000e", "vmxnet3": "vmxnet3", "rtl8139": "rtl8139", "pcnet": "pcnet",
}

// disk returns the device of disk i, whose image is the node called node.
func (b bus) disk(i int, node string) string {
	device := b.device
	if device == "nvme" {
		device += ",serial=" + node
	}
	return device + b.place(i, node)
}

// seed returns the device of a disk that is read and not the guest's own. Linux gives
// out the names of SCSI disks in no order, so on these buses it is a CD.
func (b bus) seed(i int, node string) string { return b.cd + b.place(i, node) }

// place says which image a device shows, and where it is attached.
func (b bus) place(i int, node string) string {
	place := ",drive=" + node
	switch {
	case b.units:
		place += fmt.Sprintf(",bus=%s.%d", diskController, i)
	case b.controller != "":
		place += fmt.Sprintf(",bus=%s.0,scsi-id=%d", diskController, i)
	}
	return place
}
