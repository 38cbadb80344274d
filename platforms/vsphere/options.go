package vsphere

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/platforms"
	disk "bake.build/bake/platforms/image"
	"bake.build/bake/platforms/installer"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/ssh"
)

// Name is the platform's name in definitions.
const Name = "vsphere"

// Options are the options of vsphere().
type Options struct {
	Server         string           `bake:"server" json:"server,omitempty" help:"The address of vCenter or of an ESXi host, such as vcenter.example.com." default:"$GOVC_URL"`
	ServerUser     string           `bake:"server_user" json:"server_user,omitempty" help:"The user of vCenter, such as images@vsphere.local." default:"$GOVC_USERNAME"`
	ServerPassword platforms.Secret `bake:"server_password" json:"server_password,omitempty" help:"The password of server_user." default:"$GOVC_PASSWORD"`
	ServerToken    platforms.Secret `bake:"server_token" json:"server_token,omitempty" help:"A SAML bearer token of vCenter's single sign-on, in place of user and password." default:"$GOVC_LOGIN_TOKEN"`
	Thumbprint     string           `bake:"thumbprint" json:"thumbprint,omitempty" help:"The SHA-256 or SHA-1 thumbprint of the server's certificate, where no certificate authority that this host trusts has signed it." default:"the certificate is verified, with $GOVC_TLS_CA_CERTS"`
	Insecure       bool             `bake:"insecure" json:"insecure,omitempty" help:"Accept any certificate of the server: whoever is on the way to it can read the password." default:"$GOVC_INSECURE"`

	Datacenter   string `bake:"datacenter" json:"datacenter,omitempty" help:"The datacenter, by its name or path." default:"$GOVC_DATACENTER, or the only one"`
	Cluster      string `bake:"cluster" json:"cluster,omitempty" help:"The cluster that machines run in, by its name or path." default:"$GOVC_CLUSTER, or the only one"`
	Host         string `bake:"host" json:"host,omitempty" help:"The host that machines run on, by its name or path." default:"$GOVC_HOST, or as the cluster decides"`
	ResourcePool string `bake:"resource_pool" json:"resource_pool,omitempty" help:"The resource pool of machines, by its name or path." default:"$GOVC_RESOURCE_POOL, or that of the cluster or host"`
	Folder       string `bake:"folder" json:"folder,omitempty" help:"The folder of machines and layers below the datacenter's folder of virtual machines. It is created where it is missing." default:"bake"`
	Datastore    string `bake:"datastore" json:"datastore,omitempty" help:"The datastore of machines, or a datastore cluster, of which the datastore with the most free space is taken; by its name or path." default:"$GOVC_DATASTORE, or that of the origin"`
	Network      string `bake:"network" json:"network,omitempty" help:"The network of a machine's first card, by its name or path." default:"$GOVC_NETWORK, or that of the origin"`

	CPUs        int    `bake:"cpus" json:"cpus,omitempty" help:"CPUs of machines." default:"as the origin has"`
	Memory      string `bake:"memory,size" json:"memory,omitempty" help:"Memory of machines." default:"as the origin has"`
	MaxMachines int    `bake:"max_machines" json:"max_machines,omitempty" help:"Maximum number of machines at once." default:"4"`

	ssh.Login
	ssh.Bastions

	Key            string           `bake:"key" json:"key,omitempty" help:"How the build's key gets into machines: as guest information, which cloud-init reads, or not at all, where private_key or password lets in." default:"guestinfo" choices:"guestinfo|none"`
	GuestUser      string           `bake:"guest_user" json:"guest_user,omitempty" help:"A user of the guest, root or one with sudo that asks for no password, as whom VMware Tools run programs. They are the way in where a machine gets no address: slow, and without any network."`
	GuestPassword  platforms.Secret `bake:"guest_password" json:"guest_password,omitempty" help:"The password of guest_user."`
	HTTPAddress    string           `bake:"http_address" json:"http_address,omitempty" help:"The address of this host from which installers fetch the files of http, such as 10.0.0.7, or 10.0.0.7:8080 where a firewall lets a certain port through." default:"the one by which this host reaches the server"`
	UserData       string           `bake:"user_data" json:"user_data,omitempty" help:"User data for cloud-init in machines, as guest information."`
	Customization  string           `bake:"customization" json:"customization,omitempty" help:"The customization specification of vCenter that machines get, by its name: for addresses and names of machines where there is no DHCP."`
	IPVersion      string           `bake:"ip_version" json:"ip_version,omitempty" help:"Which of a machine's addresses that VMware Tools report is connected to." default:"any" choices:"any|4|6"`
	IgnoreNetworks []string         `bake:"ignore_networks" json:"ignore_networks,omitempty" help:"Networks whose addresses are not connected to, such as 172.17.0.0/16. Addresses of interfaces that are no card of the machine, such as docker0, never are."`

	remote.Options

	TaskTimeout string `bake:"task_timeout,duration" json:"task_timeout,omitempty" help:"Time limit for a task of vCenter, such as a clone." default:"2h"`
}

// Defaults and choices of Options.
const (
	defaultMachines = 4
	defaultFolder   = "bake"
	defaultTask     = 2 * time.Hour

	keyGuestinfo = "guestinfo"
	keyNone      = "none"
)

var _ platforms.OptionChecker = (*Options)(nil)

// Check implements platforms.OptionChecker.
func (o *Options) Check() error {
	for _, network := range o.IgnoreNetworks {
		if _, err := netip.ParsePrefix(network); err != nil {
			return fmt.Errorf("ignore_networks: %q is not a network, such as 172.17.0.0/16", network)
		}
	}
	switch {
	case o.Thumbprint != "" && o.Insecure:
		return errors.New("insecure: thumbprint is given, which says what certificate the server has")
	case o.ServerToken != "" && (o.ServerUser != "" || o.ServerPassword != ""):
		return errors.New("server_token: takes the place of server_user and server_password")
	case o.Cluster != "" && o.ResourcePool != "":
		return errors.New("resource_pool: cluster is given: name one of them, a resource pool by its path if need be")
	case (o.GuestUser != "") != (o.GuestPassword != ""):
		return errors.New("guest_user: goes together with guest_password")
	case o.CPUs < 0:
		return fmt.Errorf("cpus: %d is less than zero", o.CPUs)
	case o.MaxMachines < 0:
		return fmt.Errorf("max_machines: %d is less than zero", o.MaxMachines)
	}
	if _, err := o.httpAddress(); err != nil {
		return err
	}
	if _, err := o.memory(); err != nil {
		return err
	}
	if _, err := o.taskTimeout(); err != nil {
		return err
	}
	return errors.Join(o.Options.Check(), o.Login.Check())
}

// memory returns the memory of machines in MiB, or 0.
func (o *Options) memory() (int64, error) {
	if o.Memory == "" {
		return 0, nil
	}
	size, err := platforms.ParseSize(o.Memory)
	if err != nil {
		return 0, fmt.Errorf("memory: %w", err)
	}
	const unit = 4 << 20 // what vSphere asks for
	if size%unit != 0 {
		return 0, fmt.Errorf("memory: %s: want a multiple of 4M", o.Memory)
	}
	return size >> 20, nil
}

// httpAddress returns the address that files are served at, with a port; "" where the
// option does not say it.
func (o *Options) httpAddress() (string, error) {
	if o.HTTPAddress == "" {
		return "", nil
	}
	if a, err := netip.ParseAddr(o.HTTPAddress); err == nil {
		return netip.AddrPortFrom(a, 0).String(), nil
	}
	a, err := netip.ParseAddrPort(o.HTTPAddress)
	if err != nil {
		return "", fmt.Errorf("http_address: %q is not an address, such as 10.0.0.7 or 10.0.0.7:8080", o.HTTPAddress)
	}
	return a.String(), nil
}

func (o *Options) taskTimeout() (time.Duration, error) {
	if o.TaskTimeout == "" {
		return defaultTask, nil
	}
	d, err := platforms.ParseDuration(o.TaskTimeout)
	if err != nil {
		return 0, fmt.Errorf("task_timeout: %w", err)
	}
	return d, nil
}

// Origin are the options of source().
type Origin struct {
	Template string `bake:"template,origin" json:"template,omitempty" help:"A template, by its name or path."`
	VM       string `bake:"vm,origin" json:"vm,omitempty" help:"A virtual machine, by its name or path: as it is, powered off, or one of its snapshots."`
	Snapshot string `bake:"snapshot" json:"snapshot,omitempty" help:"The snapshot of the template or virtual machine, by its name, or its path from the first one on." default:"the current one, where there is one"`

	OVA       string `bake:"ova,path,origin" json:"ova,omitempty" help:"An OVA or the folder of an OVF package, which is imported: a path, a URL, or an artifact of this definition."`
	ISO       string `bake:"iso,path,origin" json:"iso,omitempty" help:"An installer: the path or the URL of its ISO image, which is uploaded for the time of the installation. It is started, told what to do by boot_command, and has done its work when it shuts the machine down."`
	StoredISO string `bake:"datastore_iso,origin" json:"datastore_iso,omitempty" help:"An installer, as iso, on a datastore: such as \"[datastore1] iso/debian.iso\"."`

	LibraryItem string `bake:"library_item,origin" json:"library_item,omitempty" help:"An item of a content library, an OVF or a VM template, which is deployed: the names of the library and of the item, such as images/debian-12."`

	SHA256    string `bake:"sha256" json:"sha256,omitempty" help:"The SHA-256 that the file must have, in hex. ova and iso only."`
	SHA512    string `bake:"sha512" json:"sha512,omitempty" help:"The SHA-512 that the file must have, in hex. ova and iso only."`
	Checksums string `bake:"checksums,path" json:"checksums,omitempty" help:"A list of checksums that has the file's, as sha256sum and sha512sum write it: a path, or a URL, whose digest of the file is pinned. ova and iso only."`

	DiskSize string            `bake:"disk_size,size" json:"disk_size,omitempty" help:"The size of the disk of a machine that is installed." default:"8G"`
	Hardware *hardware.Options `bake:"hardware" json:"hardware,omitempty" help:"What a machine that is installed is made of. Its network is the platform's." default:"2 CPUs, 2G, bios, pvscsi and vmxnet3"`

	installer.Options
}

// installs reports whether an origin of the kind is an installer.
func installs(kind string) bool { return kind == originISO || kind == originStored }

// check finds options that mean nothing for the kind of origin.
func (o *Origin) check(kind string, paths map[string]string) error {
	as := kind
	if installs(kind) {
		as = originISO
	}
	if err := o.Options.Check(Name, as, paths); err != nil {
		return err
	}
	digests := o.digests()
	file := kind == originOVA || kind == originISO
	switch {
	case o.Snapshot != "" && o.Template == "" && o.VM == "":
		return errors.New("snapshot: belongs to a template or a vm")
	case !file && (digests != disk.Digests{} || paths["checksums"] != ""):
		return fmt.Errorf("origin %s: sha256, sha512 and checksums are for ova and iso", kind)
	case !installs(kind) && (o.DiskSize != "" || o.Hardware != nil):
		return fmt.Errorf("origin %s: disk_size and hardware are for installers: a machine has those of its origin", kind)
	case o.FloppyFiles != "":
		return errors.New("floppy_files: machines of vsphere get no floppy disk: give the files as cd_files or http")
	}
	if kind == originLibrary {
		if _, _, err := splitItem(o.LibraryItem); err != nil {
			return err
		}
	}
	if o.Hardware != nil {
		if err := o.Hardware.Check(); err != nil {
			return fmt.Errorf("hardware: %w", err)
		}
	}
	if installs(kind) {
		if _, err := o.machine().devices(); err != nil {
			return err
		}
	}
	return digests.Check(paths["checksums"])
}

func (o *Origin) digests() disk.Digests {
	return disk.Digests{SHA256: o.SHA256, SHA512: o.SHA512, Checksums: o.Checksums}
}

// decode returns the options of an origin.
func decode(o platforms.Origin) (or Origin, err error) {
	if err := o.Decode(&or); err != nil {
		return or, fmt.Errorf("%s: options: %w", o.Kind, err)
	}
	if err := or.check(o.Kind, o.Paths); err != nil {
		return or, &platforms.OptionError{Err: err}
	}
	return or, nil
}

// file is the file that an OVA or an ISO image is.
func (o *Origin) file(of platforms.Origin) (disk.File, error) {
	return disk.FileOf(of, cmp.Or(o.OVA, o.ISO), o.digests())
}
