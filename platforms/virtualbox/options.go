package virtualbox

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/desktop"
)

// Name is the platform's name in definitions.
const Name = "virtualbox"

// Options are the options of virtualbox().
type Options struct {
	desktop.Options
}

// Origin are the options of source() on this platform.
type Origin struct {
	desktop.Origin
}

// Parts that VirtualBox has, as options name them.
var (
	buses = []string{"virtio", "scsi", "lsilogic", "lsisas", "sata", "ide", "nvme"}
	cards = []string{"virtio", "e1000", "pcnet"}
)

// Check implements platforms.OptionChecker.
func (o *Options) Check() error {
	if err := o.Options.Check(); err != nil {
		return err
	}
	h := o.Hardware
	if h == nil {
		h = &hardware.Options{}
	}
	return errors.Join(
		desktop.Refuse("VirtualBox", hardware.Options{DiskBus: o.DiskBus, NIC: o.NIC}, buses, cards),
		desktop.Refuse("VirtualBox", *h, buses, cards),
	)
}

// Spec declares the platform.
func Spec() platforms.Spec {
	spec := platforms.Declare[Options, Origin](Name,
		"Virtual machines of Oracle VirtualBox 7 on this host, reached over SSH. A machine boots once, runs the steps one after the other, and keeps a layer after each, as VirtualBox's own media.",
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
	hv := &hypervisor{}
	d, err := desktop.New(Name, o.Options, o, h, hv)
	if err != nil {
		return nil, err
	}
	return &driver{Driver: d, hypervisor: hv}, nil
}

// Check implements platforms.Checker.
func (d *driver) Check() []platforms.Problem {
	problems := desktop.CheckTools()
	if _, err := exec.LookPath(program); err != nil {
		return append(problems, platforms.Problem{
			What: "VBoxManage is not in PATH", Fix: "install VirtualBox 7.0 or newer (https://www.virtualbox.org)", Need: "machines of virtualbox()",
		})
	}
	if _, err := d.hypervisor.version(context.Background()); err != nil {
		problems = append(problems, platforms.Problem{
			What: err.Error(), Fix: "install VirtualBox 7.0 or newer (https://www.virtualbox.org)", Need: "machines of virtualbox()",
		})
	}
	return problems
}
