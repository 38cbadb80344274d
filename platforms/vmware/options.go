package vmware

import (
	"context"
	"fmt"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/desktop"
)

// Name is the platform's name in definitions.
const Name = "vmware"

// Options are the options of vmware().
type Options struct {
	desktop.Options

	Product string `bake:"product" json:"product,omitempty" help:"VMware's product: Workstation Pro (ws) or Fusion Pro (fusion)." default:"fusion on macOS, else ws" choices:"ws|fusion"`
	Leases  string `bake:"leases" json:"leases,omitempty" help:"The file in which the DHCP server of VMware's NAT network, vmnet8, keeps its leases." default:"where VMware puts it"`
}

// Origin are the options of source() on this platform.
type Origin struct {
	desktop.Origin

	VMX string `bake:"vmx,path,origin" json:"vmx,omitempty" help:"The folder of a VMX file and its disks: a path or an artifact. It is read, and never changed."`
}

// Parts that VMware has, as options name them.
var (
	buses = []string{"scsi", "lsilogic", "lsisas", "pvscsi", "sata", "ide", "nvme"}
	cards = []string{"e1000", "e1000e", "vmxnet3", "pcnet"}
)

// Check implements platforms.OptionChecker.
func (o *Options) Check() error { return o.CheckParts("VMware", buses, cards) }

// Spec declares the platform.
func Spec() platforms.Spec {
	spec := platforms.Declare[Options, Origin](Name,
		"Virtual machines of VMware Workstation Pro or Fusion Pro on this host, reached over SSH. A machine boots once, runs the steps one after the other, and keeps a layer after each, as VMware's own disks.",
		func(o Options, h platforms.Host) (platforms.Driver, error) { return open(o, h) })
	spec.Boots = true
	return spec
}

// A driver is a desktop driver that tells what this host lacks.
type driver struct {
	*desktop.Driver
	hypervisor *hypervisor
}

var (
	_ platforms.Driver  = (*driver)(nil)
	_ platforms.Checker = (*driver)(nil)
)

func open(o Options, h platforms.Host) (*driver, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", Name, err)
	}
	hv := newHypervisor(o)
	// Which product it is, and where its network notes its leases, changes no layer.
	d, err := desktop.New(Name, o.Options, o, h, hv)
	if err != nil {
		return nil, err
	}
	return &driver{Driver: d, hypervisor: hv}, nil
}

// Check implements platforms.Checker.
func (d *driver) Check() []platforms.Problem {
	problems := desktop.CheckTools()
	if _, err := d.hypervisor.Check(context.Background()); err != nil {
		problems = append(problems, platforms.Problem{
			What: err.Error(), Fix: "install VMware Workstation Pro or Fusion Pro (https://www.vmware.com), and have vmrun in PATH", Need: "machines of vmware()",
		})
	}
	return problems
}
