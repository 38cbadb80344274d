package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/fetch"
	"bake.build/bake/platforms/wait"
)

// What a pin needs to find its virtual machine again.
const (
	detailVM       = "vm"       // the UUID of the instance
	detailSnapshot = "snapshot" // the snapshot's reference
	detailName     = "name"     // for users
)

// PinName implements platforms.PinNamer.
func (d *driver) PinName(o platforms.Origin) string {
	var or Origin
	if o.Decode(&or) != nil {
		return "" // told where it is used
	}
	switch o.Kind {
	case originOVA, originISO:
		if url := cmp.Or(or.OVA, or.ISO); url != "" {
			return o.Kind + " " + fetch.Redacted(url)
		}
		return ""
	}
	return strings.Join(strings.Fields(strings.Join([]string{d.options.Server, d.options.Datacenter, cmp.Or(or.Template, or.VM, or.StoredISO, or.LibraryItem), or.Snapshot}, " ")), " ")
}

// Pin implements platforms.Driver.
func (d *driver) Pin(ctx context.Context, o platforms.Origin) (platforms.Origin, error) {
	or, err := decode(o)
	if err != nil {
		return o, err
	}
	if err := d.hasClones(ctx); err != nil {
		return o, err
	}
	switch o.Kind {
	case originOVA, originISO:
		f, err := or.file(o)
		if err != nil {
			return o, &platforms.OptionError{Err: err}
		}
		o.Pin, err = f.Pin(ctx, o, d.host)
		return o, err
	case originStored:
		o.Pin, err = d.pinStored(ctx, or.StoredISO)
		return o, err
	case originLibrary:
		o.Pin, err = d.pinItem(ctx, or.LibraryItem)
		return o, err
	}
	return d.pinMachine(ctx, or, o)
}

// hasClones fails for a server that has no clones, which machines of steps are.
func (d *driver) hasClones(ctx context.Context) error {
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	if !c.IsVC() {
		return &platforms.OptionError{Err: errors.New("server: an ESXi host without vCenter has no clones, which the machines of steps are: it takes images, and starts artifacts")}
	}
	return nil
}

// pinMachine pins a virtual machine by its UUID, with what changes when somebody changes
// it.
func (d *driver) pinMachine(ctx context.Context, or Origin, o platforms.Origin) (platforms.Origin, error) {
	if o.Pin != nil {
		_, pin, err := d.pinned(ctx, o)
		if err != nil && !errors.Is(err, wait.ErrNotFound) {
			return o, err
		}
		if err == nil && pin.ID == o.Pin.ID {
			return o, nil
		}
	}
	v, err := d.resolve(ctx, or)
	if err != nil {
		return o, err
	}
	s, err := v.chosen(or.Snapshot)
	if err != nil {
		return o, &platforms.OptionError{Err: err}
	}
	o.Pin = v.pin(s)
	return o, nil
}

// resolve finds the virtual machine that an origin names.
func (d *driver) resolve(ctx context.Context, or Origin) (v vm, err error) {
	s, err := d.site(ctx)
	if err != nil {
		return v, err
	}
	c, err := d.vim(ctx)
	if err != nil {
		return v, err
	}
	inv, err := loadInventory(ctx, c, typeVM)
	if err != nil {
		return v, err
	}
	option, name := "template", or.Template
	if name == "" {
		option, name = "vm", or.VM
	}
	i, err := inv.named(option, name, inv.of(s.datacenter.ref, typeVM))
	if err != nil {
		return v, err
	}
	if v, err = d.vm(ctx, i.ref); err != nil {
		return v, err
	}
	switch {
	case option == "template" && !v.template:
		return v, &platforms.OptionError{Err: fmt.Errorf("template: %q is a virtual machine: want vm = %q", name, name)}
	case option == "vm" && v.template:
		return v, &platforms.OptionError{Err: fmt.Errorf("vm: %q is a template: want template = %q", name, name)}
	}
	return v, nil
}

// chosen returns the snapshot that an origin begins on, or nil for the virtual machine as
// it is.
func (v *vm) chosen(name string) (*snapshot, error) {
	var found []snapshot
	var names []string
	for _, s := range v.snapshots {
		names = append(names, s.name)
		if name == "" && s.ref == v.current || name != "" && (s.name == name || s.path == "/"+strings.Trim(name, "/")) {
			found = append(found, s)
		}
	}
	switch {
	case len(found) == 1:
		return &found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("snapshot: %s has several snapshots of the name %q: give the path of one, from the first snapshot on", v.name, name)
	case name != "":
		return nil, fmt.Errorf("snapshot: %s has no snapshot %q%s", v.name, name, spell.Hint(name, "there are", names))
	case v.on:
		return nil, fmt.Errorf("vm: %s is on, so that its disk changes: turn it off, or give one of its snapshots", v.name)
	}
	return nil, nil
}

// pin returns what identifies the virtual machine as it is, or a snapshot of it.
func (v *vm) pin(s *snapshot) *platforms.Pin {
	if s == nil {
		return &platforms.Pin{ID: v.uuid + "@" + v.version, Detail: map[string]string{detailVM: v.uuid, detailName: v.name}}
	}
	at := s.made.UTC().Format(time.RFC3339)
	return &platforms.Pin{
		ID: v.uuid + "/" + s.ref.Value + "@" + at, Date: at,
		Detail: map[string]string{detailVM: v.uuid, detailSnapshot: s.ref.Value, detailName: v.name},
	}
}

// pinned returns the virtual machine of a pin and what its pin would be now. One that is
// not there is wait.ErrNotFound.
func (d *driver) pinned(ctx context.Context, o platforms.Origin) (v vm, now *platforms.Pin, err error) {
	if o.Pin == nil {
		return v, nil, errors.New("the origin has no pin")
	}
	if v, err = d.instance(ctx, o.Pin.Detail[detailVM]); err != nil {
		return v, nil, err
	}
	ref := o.Pin.Detail[detailSnapshot]
	if ref == "" {
		return v, v.pin(nil), nil
	}
	s, ok := v.snapshot(ref)
	if !ok {
		return v, nil, fmt.Errorf("%s: snapshot %s: %w", v.name, ref, wait.ErrNotFound)
	}
	return v, v.pin(&s), nil
}

// origin returns the virtual machine that o is pinned to.
func (d *driver) origin(ctx context.Context, o platforms.Origin) (vm, error) {
	v, pin, err := d.pinned(ctx, o)
	if errors.Is(err, wait.ErrNotFound) {
		return v, fmt.Errorf("%w any more: bake update finds another one", err)
	} else if err != nil {
		return v, err
	}
	if pin.ID != o.Pin.ID {
		return v, fmt.Errorf("%s has changed since it was pinned: bake update takes it as it is now", v.name)
	}
	return v, nil
}

// Import implements platforms.Driver: nothing but the reference is kept.
func (d *driver) Import(ctx context.Context, o platforms.Origin, _ string, out platforms.Logger) (platforms.Made, error) {
	v, err := d.origin(ctx, o)
	if err != nil {
		return platforms.Made{}, err
	}
	ref := v.uuid
	if s := o.Pin.Detail[detailSnapshot]; s != "" {
		ref += "/" + s
	}
	_, err = fmt.Fprintf(out, "%s (%s)\n", v.name, ref)
	return platforms.Made{Ref: ref, Traits: v.traits()}, err
}

// Describe implements platforms.Describer.
func (d *driver) Describe(ctx context.Context, o platforms.Origin) (platforms.Traits, error) {
	switch o.Kind {
	case originOVA:
		return describePackage(o.Paths[originOVA])
	case originLibrary:
		return platforms.Traits{}, nil // known when it was deployed
	case originISO, originStored:
		or, err := decode(o)
		if err != nil {
			return platforms.Traits{}, err
		}
		v := or.machine().vm()
		return v.traits(), nil
	}
	v, err := d.origin(ctx, o)
	if err != nil {
		return platforms.Traits{}, err
	}
	return v.traits(), nil
}

// describePackage says what the layers of a package will be, as far as it is on this
// host: the rest is known when it was imported.
func describePackage(path string) (t platforms.Traits, err error) {
	if path == "" {
		return t, nil
	}
	m, err := openPackage(path)
	if err != nil {
		return t, fmt.Errorf("%s: %w", path, err)
	}
	v := (&described{m.Hardware.Described(false), 0}).vm()
	return v.traits(), m.Close()
}
