package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/wait"
)

// A vm is a virtual machine or a template, as far as bake wants to know.
type vm struct {
	ref       types.ManagedObjectReference
	parent    types.ManagedObjectReference // "" for a template of the root, or an import that goes on
	uuid      string                       // of the instance, unique in a vCenter
	name      string
	guest     string // the id of the guest's operating system
	firmware  string // "bios" or "efi"
	version   string // of the configuration
	template  bool
	on        bool
	created   time.Time
	size      int64 // bytes of its disks
	marks     map[string]string
	current   types.ManagedObjectReference // the snapshot that it goes on from; "" for none
	snapshots []snapshot                   // a parent is before its children
}

// A snapshot is one of a virtual machine.
type snapshot struct {
	ref, parent types.ManagedObjectReference
	name, path  string // the path is of names, from the first snapshot on
	about       string // the description
	made        time.Time
	children    int
}

var vmProperties = []string{
	"name", "parent", "snapshot", "runtime.powerState", "summary.storage.committed", "config.instanceUuid", "config.guestId", "config.firmware",
	"config.changeVersion", "config.template", "config.createDate", "config.extraConfig",
}

// Marks in the extra configuration of virtual machines. The package publish knows further
// ones, of images.
const (
	markBuild = "bake:build" // the build that has made it
	markToken = "bake:token" // names it in the ledger
	markBegun = "bake:begun" // when it was made
	markOurs  = "bake:project"
	markType  = "bake:type"  // of an image, what it has to be
	markBase  = "bake:base"  // the snapshot that it is a linked clone of
	markUsed  = "bake:used:" // begins the marks of when layers were last used
)

// markPrefix begins the names of marks.
const markPrefix = "bake:"

// Names in the extra configuration are those of lines of a VMX file.
func extraName(mark string) string { return strings.ReplaceAll(mark, ":", ".") }

func markOf(extra string) (mark string, ok bool) {
	mark = strings.ReplaceAll(extra, ".", ":")
	return mark, strings.HasPrefix(mark, markPrefix)
}

// extraConfig are settings in the extra configuration; one that is "" is removed.
func extraConfig(settings map[string]string) (list []types.BaseOptionValue) {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		list = append(list, &types.OptionValue{Key: extraName(name), Value: settings[name]})
	}
	return list
}

func vmOf(m mo.VirtualMachine) (v vm, ok bool) {
	if m.Config == nil {
		return v, false // it cannot be read, such as one whose datastore is not there
	}
	v = vm{
		ref: m.Self, uuid: m.Config.InstanceUuid, name: unescape(m.Name), guest: m.Config.GuestId, firmware: m.Config.Firmware,
		version: m.Config.ChangeVersion, template: m.Config.Template, on: m.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff, marks: map[string]string{},
	}
	if m.Parent != nil {
		v.parent = *m.Parent
	}
	if m.Config.CreateDate != nil {
		v.created = *m.Config.CreateDate
	}
	if s := m.Summary.Storage; s != nil {
		v.size = s.Committed
	}
	for _, o := range m.Config.ExtraConfig {
		pair := o.GetOptionValue()
		if mark, ok := markOf(pair.Key); ok {
			v.marks[mark] = fmt.Sprint(pair.Value)
		}
	}
	if m.Snapshot != nil {
		if m.Snapshot.CurrentSnapshot != nil {
			v.current = *m.Snapshot.CurrentSnapshot
		}
		v.addSnapshots(types.ManagedObjectReference{}, "", m.Snapshot.RootSnapshotList)
	}
	return v, true
}

func (v *vm) addSnapshots(parent types.ManagedObjectReference, path string, list []types.VirtualMachineSnapshotTree) {
	for _, s := range list {
		at := path + "/" + unescape(s.Name)
		v.snapshots = append(v.snapshots, snapshot{
			ref: s.Snapshot, parent: parent, name: unescape(s.Name), path: at, about: s.Description, made: s.CreateTime, children: len(s.ChildSnapshotList),
		})
		v.addSnapshots(s.Snapshot, at, s.ChildSnapshotList)
	}
}

// snapshot returns the snapshot of a reference's value.
func (v *vm) snapshot(value string) (snapshot, bool) {
	i := slices.IndexFunc(v.snapshots, func(s snapshot) bool { return s.ref.Value == value })
	if i < 0 {
		return snapshot{}, false
	}
	return v.snapshots[i], true
}

// traits are what the machine's layers are.
func (v *vm) traits() platforms.Traits {
	t := platforms.Traits{Boot: "bios"}
	if v.firmware == string(types.GuestOsDescriptorFirmwareTypeEfi) {
		t.Boot = "uefi"
	}
	switch guest := strings.ToLower(v.guest); {
	case strings.Contains(guest, "arm"):
		t.Arch = "arm64"
	case strings.Contains(guest, "64"):
		t.Arch = "amd64"
	}
	return t
}

// vms returns the virtual machines below an object of the inventory.
func (d *driver) vms(ctx context.Context, root types.ManagedObjectReference) ([]vm, error) {
	c, err := d.vim(ctx)
	if err != nil {
		return nil, err
	}
	var list []mo.VirtualMachine
	if err := retrieve(ctx, c, root, []string{typeVM}, vmProperties, &list); err != nil {
		return nil, fmt.Errorf("list virtual machines: %w", explain(err))
	}
	var all []vm
	for _, m := range list {
		if v, ok := vmOf(m); ok {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b vm) int { return cmp.Compare(a.ref.Value, b.ref.Value) })
	return all, nil
}

// vm returns what is known of a virtual machine. One that is not there is
// wait.ErrNotFound.
func (d *driver) vm(ctx context.Context, ref types.ManagedObjectReference) (v vm, err error) {
	c, err := d.vim(ctx)
	if err != nil {
		return v, err
	}
	var m mo.VirtualMachine
	err = property.DefaultCollector(c).RetrieveOne(ctx, ref, vmProperties, &m)
	if is[*types.ManagedObjectNotFound](err) {
		return v, fmt.Errorf("virtual machine %s: %w", ref.Value, wait.ErrNotFound)
	} else if err != nil {
		return v, fmt.Errorf("look for the virtual machine %s: %w", ref.Value, explain(err))
	}
	v, ok := vmOf(m)
	if !ok {
		return v, fmt.Errorf("virtual machine %s: its configuration cannot be read", ref.Value)
	}
	return v, nil
}

// instance returns the virtual machine of an instance's UUID. One that is not there is
// wait.ErrNotFound.
func (d *driver) instance(ctx context.Context, uuid string) (v vm, err error) {
	c, err := d.vim(ctx)
	if err != nil {
		return v, err
	}
	instance := true
	ref, err := object.NewSearchIndex(c).FindByUuid(ctx, nil, uuid, true, &instance)
	if err != nil {
		return v, fmt.Errorf("look for the virtual machine %s: %w", uuid, explain(err))
	}
	if ref == nil {
		return v, fmt.Errorf("virtual machine %s: %w", uuid, wait.ErrNotFound)
	}
	return d.vm(ctx, ref.Reference())
}

// mark sets marks of a virtual machine and leaves others; one that is "" is removed. Of a
// template it is made a virtual machine for that.
func (d *driver) mark(ctx context.Context, v vm, marks map[string]string) error {
	return d.reconfigure(ctx, v, types.VirtualMachineConfigSpec{ExtraConfig: extraConfig(marks)})
}

func (d *driver) reconfigure(ctx context.Context, v vm, spec types.VirtualMachineConfigSpec) (err error) {
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	o := object.NewVirtualMachine(c, v.ref)
	if v.template {
		if err := d.unmark(ctx, v); err != nil {
			return err
		}
	}
	_, err = d.do(ctx, "reconfigure "+v.name, nil, func(ctx context.Context) (*object.Task, error) { return o.Reconfigure(ctx, spec) })
	if v.template {
		err = errors.Join(err, explain(o.MarkAsTemplate(context.WithoutCancel(ctx))))
	}
	return err
}

// unmark makes a template a virtual machine.
func (d *driver) unmark(ctx context.Context, v vm) error {
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	p, err := d.place(ctx)
	if err != nil {
		return err
	}
	if err := object.NewVirtualMachine(c, v.ref).MarkAsVirtualMachine(ctx, *object.NewResourcePool(c, p.pool), nil); err != nil {
		return fmt.Errorf("%s: make the template a virtual machine, to change it: %w", v.name, explain(err))
	}
	return nil
}

// destroy removes a virtual machine with its disks. One that is not there is no error.
func (d *driver) destroy(ctx context.Context, v vm) error {
	if err := d.powerOff(ctx, v.ref, v.name); err != nil {
		return err
	}
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	_, err = d.do(ctx, "remove "+v.name, nil, func(ctx context.Context) (*object.Task, error) {
		return object.NewVirtualMachine(c, v.ref).Destroy(ctx)
	})
	if is[*types.ManagedObjectNotFound](err) {
		return nil
	}
	return err
}

// powerOn turns a virtual machine on.
func (d *driver) powerOn(ctx context.Context, ref types.ManagedObjectReference, name string, out platforms.Logger) error {
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	_, err = d.do(ctx, "turn on "+name, out, func(ctx context.Context) (*object.Task, error) {
		return object.NewVirtualMachine(c, ref).PowerOn(ctx)
	})
	return err
}

// powerOff turns a virtual machine off, if it is on.
func (d *driver) powerOff(ctx context.Context, ref types.ManagedObjectReference, name string) error {
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	o := object.NewVirtualMachine(c, ref)
	state, err := o.PowerState(ctx)
	if is[*types.ManagedObjectNotFound](err) || err == nil && state == types.VirtualMachinePowerStatePoweredOff {
		return nil
	} else if err != nil {
		return fmt.Errorf("%s: %w", name, explain(err))
	}
	_, err = d.do(ctx, "turn off "+name, nil, func(ctx context.Context) (*object.Task, error) { return o.PowerOff(ctx) })
	if is[*types.InvalidPowerState](err) || is[*types.ManagedObjectNotFound](err) {
		return nil // it has gone off meanwhile
	}
	return err
}
