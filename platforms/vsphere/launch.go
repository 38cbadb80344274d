package vsphere

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// A base is what a machine is cloned from.
type base struct {
	vm
	snapshot *snapshot // nil for the virtual machine as it is
}

// ref is the reference of a layer.
func (b *base) layerRef() string {
	if b.snapshot == nil {
		return b.uuid
	}
	return b.uuid + "/" + b.snapshot.ref.Value
}

// base returns what a layer's reference names.
func (d *driver) base(ctx context.Context, ref string) (*base, error) {
	uuid, value, _ := strings.Cut(ref, "/")
	v, err := d.instance(ctx, uuid)
	if errors.Is(err, wait.ErrNotFound) {
		return nil, fmt.Errorf("%w any more: build again", err)
	} else if err != nil {
		return nil, err
	}
	b := &base{vm: v}
	if value == "" {
		return b, nil
	}
	s, ok := v.snapshot(value)
	if !ok {
		return nil, fmt.Errorf("%s: there is no snapshot %s any more: build again", v.name, value)
	}
	b.snapshot = &s
	if isLayer(&v, s) {
		return b, d.Cache.Use(ctx, layerOf(&v, s))
	}
	return b, nil
}

// deepMost is on how many disks a linked clone's disk may lie, so that there is room for
// the snapshots of its own: vSphere takes some 30 in all.
const deepMost = 16

// linked reports whether a machine can be a linked clone.
func (b *base) linked() bool { return b.snapshot != nil && aboutOf(*b.snapshot).Depth < deepMost }

// Boot implements platforms.Driver: it clones a machine from the last layer.
func (d *driver) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (platforms.Machine, error) {
	if err := d.options.CheckProject(d.host.Ledger().Project()); err != nil {
		return nil, err
	}
	b, err := d.base(ctx, chain[len(chain)-1].Ref)
	if err != nil {
		return nil, err
	}
	m, err := d.launch(ctx, b, out)
	if err != nil {
		return nil, err
	}
	if err := m.start(ctx); err != nil {
		return nil, errors.Join(err, m.End())
	}
	d.mu.Lock()
	d.launched = true
	d.mu.Unlock()
	return m, nil
}

// launch clones a machine.
func (d *driver) launch(ctx context.Context, b *base, out platforms.Logger) (*machine, error) {
	folder, err := d.ownFolder(ctx)
	if err != nil {
		return nil, err
	}
	c, err := d.vim(ctx)
	if err != nil {
		return nil, err
	}
	token := newToken()
	m := &machine{d: d, name: machineName(token), traits: b.traits(), logger: out}
	spec, err := d.cloneSpec(ctx, b, token, m.name)
	if err != nil {
		return nil, err
	}
	if b.linked() {
		m.depth = aboutOf(*b.snapshot).Depth + 1
	}
	result, record, err := resource.Make(ctx, d.Manager, kindMachine, "", token, func(ctx context.Context) (types.AnyType, error) {
		return d.do(ctx, "clone "+b.name, out, func(ctx context.Context) (*object.Task, error) {
			return object.NewVirtualMachine(c, b.ref).Clone(ctx, object.NewFolder(c, folder), m.name, *spec)
		})
	})
	if err != nil {
		return nil, err
	}
	ref, ok := result.(types.ManagedObjectReference)
	if !ok {
		return nil, errors.Join(fmt.Errorf("clone %s: the task's result is no virtual machine", b.name), record.Look(ctx))
	}
	m.ref, m.record = ref, record
	kind := "whole"
	if b.linked() {
		kind = "linked"
	}
	m.say("cloned %s, a %s clone of %s", m.name, kind, b.layerRef())
	return m, nil
}

// cloneSpec is the request that clones a machine.
func (d *driver) cloneSpec(ctx context.Context, b *base, token, name string) (*types.VirtualMachineCloneSpec, error) {
	p, err := d.place(ctx)
	if err != nil {
		return nil, err
	}
	c, err := d.vim(ctx)
	if err != nil {
		return nil, err
	}
	config := &types.VirtualMachineConfigSpec{NumCPUs: int32(d.options.CPUs)}
	if config.MemoryMB, err = d.options.memory(); err != nil {
		return nil, err
	}
	settings := d.ownMarks(&b.vm, token)
	if b.linked() {
		settings[markBase] = b.layerRef()
	}
	config.ExtraConfig = extraConfig(settings)
	guest, err := d.guestinfo(token, name)
	if err != nil {
		return nil, err
	}
	config.ExtraConfig = append(config.ExtraConfig, guest...)
	if p.network != nil {
		change, err := d.connect(ctx, c, b, *p.network)
		if err != nil {
			return nil, err
		}
		config.DeviceChange = change
	}
	spec := &types.VirtualMachineCloneSpec{
		Location: types.VirtualMachineRelocateSpec{Pool: &p.pool, Host: p.host, Datastore: p.datastore, DiskMoveType: string(types.VirtualMachineRelocateDiskMoveOptionsMoveAllDiskBackingsAndDisallowSharing)},
		Config:   config,
	}
	if spec.Customization, err = d.customization(ctx, c); err != nil {
		return nil, err
	}
	if b.snapshot != nil {
		spec.Snapshot = &b.snapshot.ref
	}
	if b.linked() {
		spec.Location.DiskMoveType = string(types.VirtualMachineRelocateDiskMoveOptionsCreateNewChildDiskBacking)
	}
	return spec, nil
}

// customization returns the specification that the option names, or nil.
func (d *driver) customization(ctx context.Context, c *vim25.Client) (*types.CustomizationSpec, error) {
	name := d.options.Customization
	if name == "" {
		return nil, nil
	}
	if c.ServiceContent.CustomizationSpecManager == nil {
		return nil, errors.New("customization: this server has no customization specifications")
	}
	m := object.NewCustomizationSpecManager(c)
	info, err := m.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("customization: %w", explain(err))
	}
	var names []string
	for _, i := range info {
		names = append(names, i.Name)
	}
	if !slices.Contains(names, name) {
		return nil, fmt.Errorf("customization: there is no %q%s", name, spell.Hint(name, "there are", names))
	}
	found, err := m.GetCustomizationSpec(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("customization: %w", explain(err))
	}
	return &found.Spec, nil
}

// ownMarks are the marks of a machine that is cloned from another: none of those that it
// has.
func (d *driver) ownMarks(from *vm, token string) map[string]string {
	marks := map[string]string{}
	for mark := range from.marks {
		marks[mark] = ""
	}
	maps.Copy(marks, map[string]string{markBuild: d.host.Ledger().Build(), markToken: token, markBegun: now(), markOurs: d.host.Ledger().Project()})
	return marks
}

// guestinfo is what cloud-init reads in a machine: see its data source "VMware".
func (d *driver) guestinfo(token, name string) ([]types.BaseOptionValue, error) {
	meta := fmt.Sprintf("instance-id: %q\nlocal-hostname: %q\n", token, name)
	if d.options.Key != keyNone {
		key, err := d.key()
		if err != nil {
			return nil, err
		}
		meta += fmt.Sprintf("public-keys-data: %q\n", key.Authorized())
	}
	settings := map[string]string{"guestinfo.metadata": meta, "guestinfo.userdata": d.options.UserData}
	var list []types.BaseOptionValue
	for _, name := range []string{"guestinfo.metadata", "guestinfo.userdata"} {
		value, encoding := base64.StdEncoding.EncodeToString([]byte(settings[name])), "base64"
		if settings[name] == "" {
			encoding = "" // what the origin has is taken away
		}
		list = append(list, &types.OptionValue{Key: name, Value: value}, &types.OptionValue{Key: name + ".encoding", Value: encoding})
	}
	return list, nil
}

// connect is the change that connects a machine's first card to a network.
func (d *driver) connect(ctx context.Context, c *vim25.Client, b *base, network types.ManagedObjectReference) ([]types.BaseVirtualDeviceConfigSpec, error) {
	devices, err := object.NewVirtualMachine(c, b.ref).Device(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for the devices of %s: %w", b.name, explain(err))
	}
	to, ok := object.NewReference(c, network).(object.NetworkReference)
	if !ok {
		return nil, fmt.Errorf("network: %s cannot be connected to", network.Value)
	}
	backing, err := to.EthernetCardBackingInfo(ctx)
	if err != nil {
		return nil, fmt.Errorf("network: %w", explain(err))
	}
	cards := devices.SelectByType((*types.VirtualEthernetCard)(nil))
	if len(cards) == 0 {
		return nil, fmt.Errorf("network: %s has no network card", b.name)
	}
	card := cards[0].GetVirtualDevice()
	card.Backing = backing
	if card.Connectable != nil {
		card.Connectable.StartConnected = true
	}
	return []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: cards[0]}}, nil
}
