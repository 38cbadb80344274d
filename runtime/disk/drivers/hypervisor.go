// Package drivers knows what hypervisors attach disks and network cards by, and
// whether the kernel of a file tree has the drivers for that.
//
// Terms: a device is a way to attach a disk or a card, with the modules of Linux that
// it takes; the first of a hypervisor is what it does unless it is told otherwise.
package drivers

// A Device is a way to attach something.
type Device struct {
	Name    string   // as users know it
	Modules []string // all that it takes
}

// A Hypervisor is what a machine may run on.
type Hypervisor struct {
	Name         string
	Disks, Cards []Device // the usual one first
}

// The devices that several hypervisors have.
var (
	virtioDisk = Device{"virtio", []string{"virtio_pci", "virtio_blk"}}
	virtioSCSI = Device{"virtio-scsi", []string{"virtio_pci", "virtio_scsi", "sd_mod"}}
	sata       = Device{"SATA", []string{"ahci", "sd_mod"}}
	ide        = Device{"IDE", []string{"ata_piix", "sd_mod"}}
	lsiLogic   = Device{"LSI Logic SCSI", []string{"mptspi", "sd_mod"}}
	lsiSAS     = Device{"LSI Logic SAS", []string{"mptsas", "sd_mod"}}
	nvme       = Device{"NVMe", []string{"nvme"}}
	virtioCard = Device{"virtio", []string{"virtio_pci", "virtio_net"}}
	e1000      = Device{"e1000", []string{"e1000"}}
	e1000e     = Device{"e1000e", []string{"e1000e"}}
)

// The hypervisors.
var (
	// KVM stands for QEMU, OpenStack and Proxmox too.
	KVM = Hypervisor{"KVM", []Device{virtioDisk, virtioSCSI, sata, ide, nvme}, []Device{virtioCard, e1000, e1000e}}

	// VMware's disks say that they hang on an LSI Logic controller.
	VMware = Hypervisor{"VMware", []Device{lsiLogic, {"paravirtual SCSI", []string{"vmw_pvscsi", "sd_mod"}}, lsiSAS, sata, nvme},
		[]Device{{"vmxnet3", []string{"vmxnet3"}}, e1000e, e1000}}

	VirtualBox = Hypervisor{"VirtualBox", []Device{sata, ide, lsiLogic, lsiSAS, virtioSCSI, nvme}, []Device{e1000, virtioCard}}

	// HyperV stands for Azure too.
	HyperV = Hypervisor{"Hyper-V", []Device{{"Hyper-V's own bus", []string{"hv_vmbus", "hv_storvsc", "sd_mod"}}}, []Device{{"Hyper-V's own", []string{"hv_netvsc"}}}}

	// AWS has had NVMe since the instances of 2017; those before are Xen's.
	AWS = Hypervisor{"AWS", []Device{nvme, {"Xen", []string{"xen_blkfront"}}}, []Device{{"ENA", []string{"ena"}}, {"Xen", []string{"xen_netfront"}}}}
)

// Named returns the hypervisor of a name.
func Named(name string) (Hypervisor, bool) {
	for _, h := range []Hypervisor{KVM, VMware, VirtualBox, HyperV, AWS} {
		if h.Name == name {
			return h, true
		}
	}
	return Hypervisor{}, false
}
