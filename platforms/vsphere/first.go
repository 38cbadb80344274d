package vsphere

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
)

// Kinds of origins that are made in vCenter, and not there before.
const (
	originOVA     = "ova"
	originISO     = "iso"
	originStored  = "datastore_iso"
	originLibrary = "library_item"
)

// KeepsOrigin implements platforms.RemoteImporter: what was uploaded, installed or
// deployed is a layer like those of steps, which other hosts find by its key.
func (d *driver) KeepsOrigin(kind string) bool {
	return slices.Contains([]string{originOVA, originISO, originStored, originLibrary}, kind)
}

// ImportRemote implements platforms.RemoteImporter.
func (d *driver) ImportRemote(ctx context.Context, o platforms.Origin, s platforms.State, out platforms.Logger) (platforms.Made, error) {
	or, err := decode(o)
	if err != nil {
		return platforms.Made{}, err
	}
	if err := d.options.CheckProject(d.host.Ledger().Project()); err != nil {
		return platforms.Made{}, err
	}
	var make maker
	switch o.Kind {
	case originOVA:
		make, err = d.ofPackage(ctx, or, o, out)
	case originLibrary:
		make, err = d.ofItem(o, or, out)
	case originISO, originStored:
		make = func(ctx context.Context, b *birth) (types.ManagedObjectReference, error) {
			return d.install(ctx, or, o, b, out)
		}
	default:
		err = fmt.Errorf("no first layer is made of an origin %q", o.Kind)
	}
	if err != nil {
		return platforms.Made{}, err
	}
	return d.first(ctx, s, out, make)
}

// A birth is a virtual machine of bake's own that is being made.
type birth struct {
	token, name string
	folder      types.ManagedObjectReference
}

// A maker makes a virtual machine. Its error is resource.Unclear where something may be
// there all the same.
type maker func(ctx context.Context, b *birth) (types.ManagedObjectReference, error)

// bear records a virtual machine in bake's own folder and makes it.
func (d *driver) bear(ctx context.Context, make maker) (*birth, types.ManagedObjectReference, *resource.Record, error) {
	folder, err := d.ownFolder(ctx)
	if err != nil {
		return nil, folder, nil, err
	}
	b := &birth{token: newToken(), folder: folder}
	b.name = machineName(b.token)
	ref, record, err := resource.Make(ctx, d.Manager, kindMachine, "", b.token, func(ctx context.Context) (types.ManagedObjectReference, error) {
		return make(ctx, b)
	})
	return b, ref, record, err
}

func machineName(token string) string { return "bake-" + token }

// first makes the first layer of a chain: a snapshot of a virtual machine that is off.
func (d *driver) first(ctx context.Context, s platforms.State, out platforms.Logger, make maker) (made platforms.Made, err error) {
	b, ref, record, err := d.bear(ctx, make)
	if err != nil {
		return made, err
	}
	v, err := d.vm(ctx, ref)
	if err == nil {
		made.Ref, err = d.snapshotLayer(ctx, ref, b.name, v.uuid, s, 1, out)
	}
	if err != nil {
		return made, errors.Join(err, record.Look(ctx))
	}
	d.mu.Lock()
	d.launched = true
	d.mu.Unlock()
	made.Traits = v.traits()
	return made, record.Forget()
}

// snapshotLayer makes the layer of a machine as it is, whose disk lies on depth disks with
// it.
func (d *driver) snapshotLayer(ctx context.Context, machine types.ManagedObjectReference, name, uuid string, s platforms.State, depth int, out platforms.Logger) (ref string, err error) {
	text, err := json.Marshal(about{Step: s.Name, Project: d.host.Ledger().Project(), Depth: depth})
	if err != nil {
		return "", err
	}
	c, err := d.vim(ctx)
	if err != nil {
		return "", err
	}
	result, err := d.do(ctx, "make a snapshot of "+name, out, func(ctx context.Context) (*object.Task, error) {
		return object.NewVirtualMachine(c, machine).CreateSnapshot(ctx, s.Key, string(text), false, false)
	})
	if err != nil {
		return "", err
	}
	made, ok := result.(types.ManagedObjectReference)
	if !ok {
		return "", fmt.Errorf("make a snapshot of %s: the task's result is no snapshot", name)
	}
	return uuid + "/" + made.Value, nil
}
