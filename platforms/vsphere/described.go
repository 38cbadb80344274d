package vsphere

import (
	"errors"
	"fmt"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/platforms"
)

// installDisk is the size of the disk that an installer gets when none is asked for.
const installDisk = 8 << 30

// A described machine is made of what hardware() says.
type described struct {
	hardware.Options
	disk int64 // bytes
}

// machine is the machine of an installer. A size of the disk that cannot be read is 0.
func (o *Origin) machine() *described {
	m := &described{ofVMware(o.Hardware).Described(false), installDisk}
	if o.DiskSize != "" {
		m.disk, _ = platforms.ParseSize(o.DiskSize) // checked by the language
	}
	return m
}

// ofVMware is what hardware() says, with the parts that VMware's guests know best where it
// does not say them.
func ofVMware(said *hardware.Options) hardware.Options {
	var o hardware.Options
	if said != nil {
		o = *said
	}
	if o.DiskBus == "" {
		o.DiskBus = "pvscsi"
	}
	if o.NIC == "" {
		o.NIC = "vmxnet3"
	}
	return o
}

// guest is how vSphere names the operating system.
func (m *described) guest() string {
	g, _ := hardware.GuestNamed(m.GuestOS) // checked by the language
	return g.VMware
}

// vm is what the machine is, as far as it says what layers of it are.
func (m *described) vm() *vm {
	v := &vm{guest: m.guest(), firmware: string(types.GuestOsDescriptorFirmwareTypeBios)}
	if m.UEFI() {
		v.firmware = string(types.GuestOsDescriptorFirmwareTypeEfi)
	}
	return v
}

// devices are the machine's but for its network card and its disk, which hangs on the
// first one.
func (m *described) devices() (list object.VirtualDeviceList, err error) {
	var c types.BaseVirtualDevice
	switch m.DiskBus {
	case "pvscsi":
		c, err = list.CreateSCSIController("pvscsi")
	case "scsi", "lsilogic":
		c, err = list.CreateSCSIController("lsilogic")
	case "lsisas":
		c, err = list.CreateSCSIController("lsilogic-sas")
	case "sata":
		c, err = list.CreateSATAController()
	case "nvme":
		c, err = list.CreateNVMEController()
	case "ide":
		c, err = list.CreateIDEController()
	default:
		err = fmt.Errorf("hardware: disk_bus: machines of vsphere have no %s: pvscsi is the next to it", m.DiskBus)
	}
	if err != nil {
		return nil, err
	}
	if _, ok := cards[m.NIC]; !ok {
		return nil, fmt.Errorf("hardware: nic: machines of vsphere have no %s: vmxnet3 is the next to it", m.NIC)
	}
	if m.Serial {
		return nil, errors.New("hardware: serial: a serial port of vsphere needs a place that it leads to, which bake does not have")
	}
	list = append(list, c)
	if m.TPM {
		list = append(list, &types.VirtualTPM{VirtualDevice: types.VirtualDevice{Key: list.NewKey()}})
	}
	return list, nil
}

// cards are the network cards by their names.
var cards = map[string]string{"e1000": "e1000", "e1000e": "e1000e", "vmxnet3": "vmxnet3", "pcnet": "pcnet32"}

// spec is the request that makes the machine, on a network and a datastore.
func (m *described) spec(name string, network types.BaseVirtualDeviceBackingInfo, datastore types.ManagedObjectReference, datastoreName string, marks map[string]string) (types.VirtualMachineConfigSpec, error) {
	memory, err := m.MemorySize()
	if err != nil {
		return types.VirtualMachineConfigSpec{}, err
	}
	list, err := m.devices()
	if err != nil {
		return types.VirtualMachineConfigSpec{}, err
	}
	disk := list.CreateDisk(list[0].(types.BaseVirtualController), datastore, "")
	disk.CapacityInBytes, disk.CapacityInKB = m.disk, m.disk>>10
	card, err := list.CreateEthernetCard(cards[m.NIC], network)
	if err != nil {
		return types.VirtualMachineConfigSpec{}, err
	}
	changes, err := append(list, disk, card).ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	if err != nil {
		return types.VirtualMachineConfigSpec{}, err
	}
	spec := types.VirtualMachineConfigSpec{
		Name: name, GuestId: m.guest(), NumCPUs: int32(m.CPUs), MemoryMB: memory >> 20, Version: fmt.Sprintf("vmx-%02d", m.HardwareVersion),
		Firmware: m.vm().firmware, Files: &types.VirtualMachineFileInfo{VmPathName: "[" + datastoreName + "]"},
		DeviceChange: changes, ExtraConfig: extraConfig(marks),
	}
	if m.UEFI() {
		spec.BootOptions = &types.VirtualMachineBootOptions{EfiSecureBootEnabled: types.NewBool(m.SecureBoot)}
	}
	return spec, nil
}
