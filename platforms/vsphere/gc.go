package vsphere

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// Kinds of resources. A machine and an upload are found by their token, an image by its
// name, a file by its path: a record is written before there is anything else.
const (
	kindMachine = "machine"
	kindItem    = "library item"
	kindFile    = "file"
	kindUpload  = "upload"
	kindImage   = "image"
)

// retire ends a machine. One with layers is turned off, and what was done in it since the
// last one is dropped; any other is removed.
func (d *driver) retire(ctx context.Context, ref types.ManagedObjectReference) (kept bool, err error) {
	v, err := d.vm(ctx, ref)
	if errors.Is(err, wait.ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if len(v.snapshots) == 0 {
		return false, d.destroy(ctx, v)
	}
	if err := d.powerOff(ctx, v.ref, v.name); err != nil {
		return true, err
	}
	c, err := d.vim(ctx)
	if err != nil {
		return true, err
	}
	_, err = d.do(ctx, "go back to the last layer of "+v.name, nil, func(ctx context.Context) (*object.Task, error) {
		return object.NewVirtualMachine(c, v.ref).RevertToCurrentSnapshot(ctx, true)
	})
	return true, err
}

// collectMachine removes the machine of a token.
func (d *driver) collectMachine(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	s, err := d.site(ctx)
	if err != nil || s.folder.Value == "" {
		return got, err
	}
	all, err := d.own(ctx)
	if err != nil {
		return got, err
	}
	for _, v := range all {
		if v.marks[markToken] != r.ID && v.name != machineName(r.ID) { // one that was deployed has its name first
			continue
		}
		kept, err := d.retire(ctx, v.ref)
		if err != nil {
			return got, err
		}
		if kept {
			return platforms.Collected{Kept: v.name + " has layers, and is off"}, nil
		}
		return platforms.Collected{Removed: true}, nil
	}
	return got, d.unborn(ctx, s.folder, machineName(r.ID))
}

// unborn returns an error if the server still makes a virtual machine of a name, of which
// nothing can be said until it is there.
func (d *driver) unborn(ctx context.Context, folder types.ManagedObjectReference, name string) error {
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	var list []mo.VirtualMachine
	if err := retrieve(ctx, c, folder, []string{typeVM}, []string{"name"}, &list); err != nil {
		return explain(err)
	}
	for _, m := range list {
		if m.Name == name {
			return fmt.Errorf("%s: the server is still making it", name)
		}
	}
	return nil
}

// collectImage removes an image, or the upload of one, that no build has finished or taken
// over.
func (d *driver) collectImage(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	s, err := d.site(ctx)
	if err != nil {
		return got, err
	}
	all, err := d.vms(ctx, s.datacenter.ref)
	if err != nil {
		return got, err
	}
	name := r.ID
	if r.Kind == kindUpload {
		name = uploadName(r.ID)
	}
	for _, v := range all {
		if v.marks[publish.Identity] == "" || r.Kind == kindUpload && v.marks[markToken] != r.ID || r.Kind == kindImage && v.name != name {
			continue
		}
		if why := (image{vm: v, want: v.marks[markType]}).Facts().Kept(r.Build); why != "" {
			return platforms.Collected{Kept: why}, nil
		}
		return platforms.Collected{Removed: true}, d.destroy(ctx, v)
	}
	return got, d.unborn(ctx, s.datacenter.ref, name)
}

// tagged returns what builds have made and neither finished nor removed. A machine with
// layers that is off is the cache of its chain.
func (d *driver) tagged(ctx context.Context, _ string) ([]resource.Found, error) {
	s, err := d.site(ctx)
	if err != nil {
		return nil, err
	}
	all, err := d.vms(ctx, s.datacenter.ref)
	if err != nil {
		return nil, err
	}
	found, err := d.taggedFiles(ctx, s)
	if err != nil {
		return nil, err
	}
	items, err := d.taggedItems(ctx)
	if err != nil {
		return nil, err
	}
	found = append(found, items...)
	for _, v := range all {
		f := resource.Found{Build: v.marks[markBuild], Made: v.created}
		if begun, err := time.Parse(remote.Time, v.marks[markBegun]); err == nil {
			f.Made = begun
		}
		token := v.marks[markToken]
		switch {
		case f.Build == "":
			continue
		case v.marks[publish.Identity] != "" && v.marks[publish.Ready] != "":
			continue
		case v.marks[publish.Identity] != "" && v.name == uploadName(token):
			f.Kind, f.ID = kindUpload, token
		case v.marks[publish.Identity] != "":
			f.Kind, f.ID = kindImage, v.name
		case token != "" && (v.on || len(v.snapshots) == 0):
			f.Kind, f.ID = kindMachine, token
		default:
			continue
		}
		found = append(found, f)
	}
	return found, nil
}
