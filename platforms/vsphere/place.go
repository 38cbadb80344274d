package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// A place is where machines run.
type place struct {
	compute   types.ManagedObjectReference // the cluster, or a host's own
	pool      types.ManagedObjectReference
	host      *types.ManagedObjectReference // nil where the cluster decides
	datastore *types.ManagedObjectReference // nil where the origin's is taken
	network   *types.ManagedObjectReference // nil where the origin's is taken
}

// A site is where layers are, whatever machines run on.
type site struct {
	datacenter item
	folder     types.ManagedObjectReference // bake's own; "" where it is not made yet
}

// site finds the datacenter and bake's folder, once.
func (d *driver) site(ctx context.Context) (site, error) {
	d.placeMu.Lock()
	defer d.placeMu.Unlock()
	return d.lockedSite(ctx, false)
}

func (d *driver) lockedSite(ctx context.Context, make bool) (s site, err error) {
	if d.at.folder.Value != "" || d.at.datacenter.name != "" && !make {
		return d.at, nil
	}
	c, err := d.vim(ctx)
	if err != nil {
		return s, err
	}
	inv, err := loadInventory(ctx, c)
	if err != nil {
		return s, err
	}
	if s.datacenter, err = d.datacenter(inv); err != nil {
		return s, err
	}
	if s.folder, err = d.folder(ctx, inv, s.datacenter.ref, cmp.Or(d.options.Folder, defaultFolder), make); err != nil {
		return s, err
	}
	d.at = s
	return s, nil
}

// ownFolder returns bake's own folder, which is made if it is missing.
func (d *driver) ownFolder(ctx context.Context) (types.ManagedObjectReference, error) {
	d.placeMu.Lock()
	defer d.placeMu.Unlock()
	s, err := d.lockedSite(ctx, true)
	return s.folder, err
}

// place finds what the options name, once.
func (d *driver) place(ctx context.Context) (*place, error) {
	d.placeMu.Lock()
	defer d.placeMu.Unlock()
	if d.where != nil {
		return d.where, nil
	}
	s, err := d.lockedSite(ctx, false)
	if err != nil {
		return nil, err
	}
	c, err := d.vim(ctx)
	if err != nil {
		return nil, err
	}
	inv, err := loadInventory(ctx, c, append(networkTypes, typeHost, typeDatastore)...)
	if err != nil {
		return nil, err
	}
	p, in := &place{}, s.datacenter.ref
	if err := d.compute(ctx, c, inv, in, p); err != nil {
		return nil, err
	}
	if err := d.storage(ctx, c, inv, in, p); err != nil {
		return nil, err
	}
	if name := cmp.Or(d.options.Network, os.Getenv("GOVC_NETWORK")); name != "" {
		i, err := inv.named("network", name, inv.of(in, networkTypes...))
		if err != nil {
			return nil, err
		}
		p.network = &i.ref
	}
	d.where = p
	return p, nil
}

func (d *driver) datacenter(inv *inventory) (item, error) {
	all := inv.of(types.ManagedObjectReference{}, typeDatacenter)
	if name := cmp.Or(d.options.Datacenter, os.Getenv("GOVC_DATACENTER")); name != "" {
		return inv.named("datacenter", name, all)
	}
	return inv.only("datacenter", "datacenter", all)
}

// compute finds the resource pool, and the host if one is named.
func (d *driver) compute(ctx context.Context, c *vim25.Client, inv *inventory, in types.ManagedObjectReference, p *place) error {
	o := &d.options
	cluster, host, pool := cmp.Or(o.Cluster, os.Getenv("GOVC_CLUSTER")), cmp.Or(o.Host, os.Getenv("GOVC_HOST")), cmp.Or(o.ResourcePool, os.Getenv("GOVC_RESOURCE_POOL"))
	if o.Cluster != "" {
		pool = ""
	}
	if host != "" {
		i, err := inv.named("host", host, inv.of(in, typeHost))
		if err != nil {
			return err
		}
		p.host, p.compute = &i.ref, i.parent
	}
	computes := inv.of(in, typeCompute, typeCluster)
	switch {
	case pool != "":
		i, err := inv.named("resource_pool", pool, inv.of(in, typePool))
		if err != nil {
			return err
		}
		p.pool = i.ref
		for _, compute := range computes {
			if inv.within(i.ref, compute.ref) {
				p.compute = compute.ref
			}
		}
		if p.host != nil && inv.items[*p.host].parent != p.compute {
			return fmt.Errorf("host: %s is not one of the hosts of the resource pool %s", host, pool)
		}
		return nil
	case cluster != "":
		i, err := inv.named("cluster", cluster, computes)
		if err != nil {
			return err
		}
		if p.host != nil && p.compute != i.ref {
			return fmt.Errorf("host: %s is not in the cluster %s", host, cluster)
		}
		p.compute = i.ref
	case p.host == nil:
		i, err := inv.only("cluster", "cluster or host", computes)
		if err != nil {
			return err
		}
		p.compute = i.ref
	}
	var compute mo.ComputeResource
	if err := property.DefaultCollector(c).RetrieveOne(ctx, p.compute, []string{"resourcePool"}, &compute); err != nil {
		return fmt.Errorf("look for the resource pool of %s: %w", inv.path(p.compute), explain(err))
	}
	if compute.ResourcePool == nil {
		return fmt.Errorf("%s has no resource pool that this user may see", inv.path(p.compute))
	}
	p.pool = *compute.ResourcePool
	return nil
}

// storage finds the datastore, if one is named.
func (d *driver) storage(ctx context.Context, c *vim25.Client, inv *inventory, in types.ManagedObjectReference, p *place) error {
	name := cmp.Or(d.options.Datastore, os.Getenv("GOVC_DATASTORE"))
	if name == "" {
		return nil
	}
	i, err := inv.named("datastore", name, inv.of(in, typeDatastore, typePod))
	if err != nil {
		return err
	}
	list := []item{i}
	if i.ref.Type == typePod {
		list = inv.of(i.ref, typeDatastore)
	}
	best, err := roomiest(ctx, c, list)
	if err != nil {
		return fmt.Errorf("datastore: %s: %w", name, err)
	}
	p.datastore = &best
	return nil
}

// roomiest returns the datastore with the most free space of those that can be used.
func roomiest(ctx context.Context, c *vim25.Client, list []item) (best types.ManagedObjectReference, err error) {
	var refs []types.ManagedObjectReference
	for _, i := range list {
		refs = append(refs, i.ref)
	}
	if len(refs) == 0 {
		return best, errors.New("it has no datastores")
	}
	var stores []mo.Datastore
	if err := property.DefaultCollector(c).Retrieve(ctx, refs, []string{"summary"}, &stores); err != nil {
		return best, explain(err)
	}
	free := int64(-1)
	for _, s := range stores {
		if s.Summary.Accessible && (s.Summary.MaintenanceMode == "" || s.Summary.MaintenanceMode == string(types.DatastoreSummaryMaintenanceModeStateNormal)) && s.Summary.FreeSpace > free {
			best, free = s.Self, s.Summary.FreeSpace
		}
	}
	if free < 0 {
		return best, errors.New("it cannot be reached, or is in maintenance")
	}
	return best, nil
}

// folder returns a folder of virtual machines, by its path below that of the datacenter
// or from the root on. One that is missing is made, or has no value.
func (d *driver) folder(ctx context.Context, inv *inventory, datacenter types.ManagedObjectReference, path string, make bool) (at types.ManagedObjectReference, err error) {
	c, err := d.vim(ctx)
	if err != nil {
		return at, err
	}
	var dc mo.Datacenter
	if err := property.DefaultCollector(c).RetrieveOne(ctx, datacenter, []string{"vmFolder"}, &dc); err != nil {
		return at, fmt.Errorf("look for the folder of virtual machines: %w", explain(err))
	}
	if at = dc.VmFolder; !c.IsVC() {
		return at, nil // a host alone has one folder
	}
	if below, ok := strings.CutPrefix(path, inv.path(at)+"/"); ok {
		path = below
	}
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		list := inv.of(at, typeFolder)
		i := slices.IndexFunc(list, func(i item) bool { return i.parent == at && i.name == name })
		switch {
		case i >= 0:
			at = list[i].ref
		case !make:
			return types.ManagedObjectReference{}, nil
		default:
			if at, err = d.makeFolder(ctx, c, at, name); err != nil {
				return at, err
			}
		}
	}
	return at, nil
}

// makeFolder makes a folder, or returns the one that another build has made meanwhile.
func (d *driver) makeFolder(ctx context.Context, c *vim25.Client, in types.ManagedObjectReference, name string) (types.ManagedObjectReference, error) {
	f, err := object.NewFolder(c, in).CreateFolder(ctx, name)
	if err == nil {
		return f.Reference(), nil
	}
	if is[*types.DuplicateName](err) {
		if f, findErr := object.NewSearchIndex(c).FindChild(ctx, in, name); findErr == nil && f != nil && f.Reference().Type == typeFolder {
			return f.Reference(), nil
		}
	}
	return in, fmt.Errorf("make the folder %s: %w", name, explain(err))
}
