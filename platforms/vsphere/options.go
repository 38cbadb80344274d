package vsphere

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"bake.build/bake/platforms"
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

	Key            string   `bake:"key" json:"key,omitempty" help:"How the build's key gets into machines: as guest information, which cloud-init reads, or not at all, where private_key or password lets in." default:"guestinfo" choices:"guestinfo|none"`
	UserData       string   `bake:"user_data" json:"user_data,omitempty" help:"User data for cloud-init in machines, as guest information."`
	Customization  string   `bake:"customization" json:"customization,omitempty" help:"The customization specification of vCenter that machines get, by its name: for addresses and names of machines where there is no DHCP."`
	IPVersion      string   `bake:"ip_version" json:"ip_version,omitempty" help:"Which of a machine's addresses that VMware Tools report is connected to." default:"any" choices:"any|4|6"`
	IgnoreNetworks []string `bake:"ignore_networks" json:"ignore_networks,omitempty" help:"Networks whose addresses are not connected to, such as 172.17.0.0/16. Addresses of interfaces that are no card of the machine, such as docker0, never are."`

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

var (
	_ platforms.OptionChecker = (*Options)(nil)
	_ platforms.OptionChecker = (*Origin)(nil)
)

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
	case o.CPUs < 0:
		return fmt.Errorf("cpus: %d is less than zero", o.CPUs)
	case o.MaxMachines < 0:
		return fmt.Errorf("max_machines: %d is less than zero", o.MaxMachines)
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
}

// Check implements platforms.OptionChecker.
func (o *Origin) Check() error { return nil }
