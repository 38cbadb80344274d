package ovf

import "bake.build/bake/internal/hardware"

// A Machine is one virtual system of a descriptor. All of its hardware is said:
// see hardware.Options.Described.
type Machine struct {
	Name     string
	Hardware hardware.Options
	UUID     string // of the machine; "" for none
	MAC      string // twelve hex digits; "" has the reader choose
	Disks    []Disk // in the order of their attachment
	Options
}

// A Disk is a disk of a machine.
type Disk struct {
	File     string // name of the member; "" for a disk that is empty at first
	Size     int64  // bytes of the member; less than 0 where nobody knows
	Capacity int64  // bytes; 0 where the descriptor does not say a number
	UUID     string // "" for none
}

// Options are what an exported descriptor says beside the hardware.
type Options struct {
	Version string `bake:"version" json:"version,omitempty" help:"Version of OVF. virt-v2v and Proxmox do not read 2.0." default:"1.0" choices:"1.0|1.1|2.0"`
	Flavor  string `bake:"flavor" json:"flavor,omitempty" help:"Whose reader counts where readers disagree." default:"generic" choices:"generic|vmware|virtualbox"`
	Digest  string `bake:"digest" json:"digest,omitempty" help:"Digests of the manifest; sha1 is what vSphere before 6.5 reads." default:"sha256" choices:"sha256|sha1"`

	Product    string `bake:"product" json:"product,omitempty" help:"Name of the product."`
	Vendor     string `bake:"vendor" json:"vendor,omitempty" help:"Who makes the product."`
	Release    string `bake:"release" json:"release,omitempty" help:"Version of the product."`
	ProductURL string `bake:"product_url" json:"product_url,omitempty" help:"Where the product is described."`
	VendorURL  string `bake:"vendor_url" json:"vendor_url,omitempty" help:"Who makes the product, as a URL."`
	Annotation string `bake:"annotation" json:"annotation,omitempty" help:"Text for whoever deploys the machine."`
	EULA       string `bake:"eula" json:"eula,omitempty" help:"License that has to be accepted when the machine is deployed."`

	Properties map[string]string `bake:"properties" json:"properties,omitempty" help:"vApp properties that are asked for when the machine is deployed, with their defaults. The guest gets them by transport."`
	Transport  []string          `bake:"transport,set" json:"transport,omitempty" help:"How the guest gets the properties: com.vmware.guestInfo, iso or both." default:"[\"com.vmware.guestInfo\"], where there are properties"`
}

// Flavors of descriptors.
const (
	Generic    = "generic"
	VMware     = "vmware"
	VirtualBox = "virtualbox"
)

// Namespaces of the XML.
const (
	nsOVF1 = "http://schemas.dmtf.org/ovf/envelope/1"
	nsOVF2 = "http://schemas.dmtf.org/ovf/envelope/2"
	nsRASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
	nsVSSD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
	nsSASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_StorageAllocationSettingData.xsd"
	nsEASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_EthernetPortAllocationSettingData.xsd"
	nsVMW  = "http://www.vmware.com/schema/ovf"
	nsVBox = "http://www.virtualbox.org/ovf/machine"
	nsXSI  = "http://www.w3.org/2001/XMLSchema-instance"
)

// Kinds of hardware items, as of CIM_ResourceAllocationSettingData.ResourceType.
const (
	itemOther    = 1
	itemCPU      = 3
	itemMemory   = 4
	itemIDE      = 5
	itemSCSI     = 6
	itemEthernet = 10
	itemDisk     = 17
	itemStorage  = 20 // SATA, NVMe and virtio
	itemSerial   = 21
	itemDisplay  = 24
)
