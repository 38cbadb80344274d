package virtualbox

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/desktop"
	"bake.build/bake/platforms/resource"
)

// Name is the platform's name in definitions.
const Name = "virtualbox"

// Options are the options of virtualbox().
type Options struct {
	GuestAdditions string `bake:"guest_additions" json:"guest_additions,omitempty" help:"What becomes of the CD with VirtualBox's Guest Additions: attach puts it into a drive of each machine that runs steps." default:"none" choices:"none|attach"`

	desktop.Options
}

// Origin are the options of source() on this platform.
type Origin struct {
	VM       string `bake:"vm,origin" json:"vm,omitempty" help:"A machine of the user's registry, by its name or UUID, that is off. Its disks are copied, and it is not changed. It is pinned as it is, until it runs again."`
	Snapshot string `bake:"snapshot" json:"snapshot,omitempty" help:"A snapshot of vm, by its name or UUID. The machine has one disk, and may run."`

	desktop.Origin
}

// Check implements platforms.OptionChecker.
func (o *Origin) Check() error {
	if o.Snapshot != "" && o.VM == "" {
		return errors.New("option snapshot: it is one of a machine: give vm")
	}
	return nil
}

// Parts that VirtualBox has, as options name them.
var (
	buses = []string{"virtio", "scsi", "lsilogic", "lsisas", "sata", "ide", "nvme"}
	cards = []string{"virtio", "e1000", "pcnet"}
)

// Check implements platforms.OptionChecker.
func (o *Options) Check() error { return o.CheckParts("VirtualBox", buses, cards) }

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
	host       platforms.Host
	hypervisor *hypervisor
}

var (
	_ platforms.Driver   = (*driver)(nil)
	_ platforms.PinNamer = (*driver)(nil)
	_ platforms.Checker  = (*driver)(nil)
)

func open(o Options, h platforms.Host) (*driver, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", Name, err)
	}
	hv := &hypervisor{additions: o.GuestAdditions == "attach"}
	shared, err := desktop.New(Name, o.Options, o, h, hv)
	if err != nil {
		return nil, err
	}
	d := &driver{Driver: shared, host: h, hypervisor: hv}
	d.Kinds = append(d.Kinds, resource.Kind{Name: kindClone, Remove: d.collectClone})
	return d, nil
}

// Pin implements platforms.Driver.
func (d *driver) Pin(ctx context.Context, o platforms.Origin) (platforms.Origin, error) {
	if o.Kind != "vm" {
		return d.Driver.Pin(ctx, o)
	}
	var opts Origin
	if err := o.Decode(&opts); err != nil {
		return o, fmt.Errorf("vm: options: %w", err)
	}
	if err := opts.Options.Check(Name, o.Kind, o.Paths); err != nil {
		return o, &platforms.OptionError{Err: err}
	}
	r, err := d.find(ctx, opts)
	if err != nil {
		return o, fmt.Errorf("vm %s: %w", opts.VM, err)
	}
	if p := r.pin(); o.Pin == nil || o.Pin.ID != p.ID {
		o.Pin = p
	}
	return o, nil
}

// PinName implements platforms.PinNamer.
func (d *driver) PinName(o platforms.Origin) string {
	if o.Kind != "vm" {
		return d.Driver.PinName(o)
	}
	var opts Origin
	if err := o.Decode(&opts); err != nil {
		return ""
	}
	return strings.TrimSpace("vm " + opts.VM + " " + opts.Snapshot)
}

// Import implements platforms.Driver.
func (d *driver) Import(ctx context.Context, o platforms.Origin, dir string, out platforms.Logger) (platforms.Made, error) {
	if o.Kind != "vm" {
		return d.Driver.Import(ctx, o, dir, out)
	}
	var opts Origin
	if err := o.Decode(&opts); err != nil {
		return platforms.Made{}, fmt.Errorf("vm: options: %w", err)
	}
	made, err := d.importMachine(ctx, o, opts, dir, out)
	if err != nil {
		return made, fmt.Errorf("vm %s: %w", opts.VM, err)
	}
	return made, nil
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
