package vsphere

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/spell"
)

// Types of managed objects.
const (
	typeDatacenter = "Datacenter"
	typeFolder     = "Folder"
	typeVM         = "VirtualMachine"
	typeHost       = "HostSystem"
	typePool       = "ResourcePool"
	typeDatastore  = "Datastore"
	typePod        = "StoragePod"
	typeCluster    = "ClusterComputeResource"
	typeCompute    = "ComputeResource" // a host of its own
)

// networkTypes are the kinds of networks.
var networkTypes = []string{"Network", "DistributedVirtualPortgroup", "OpaqueNetwork"}

// An item is an object of the inventory.
type item struct {
	ref    types.ManagedObjectReference
	parent types.ManagedObjectReference
	name   string
}

// An inventory is what the server has of some types, and all that they may lie in.
type inventory struct {
	items map[types.ManagedObjectReference]item
}

// retrieve reads properties of all objects of the types below root into dst, a pointer to
// a slice of types.ObjectContent or of a type of the package mo.
func retrieve(ctx context.Context, c *vim25.Client, root types.ManagedObjectReference, kinds, properties []string, dst any) error {
	v, err := view.NewManager(c).CreateContainerView(ctx, root, kinds, true)
	if err != nil {
		return err
	}
	err = v.Retrieve(ctx, kinds, properties, dst)
	if destroyErr := v.Destroy(context.WithoutCancel(ctx)); err == nil && !is[*types.ManagedObjectNotFound](destroyErr) {
		err = destroyErr
	}
	return err
}

// loadInventory reads names and places of all objects of the types.
func loadInventory(ctx context.Context, c *vim25.Client, kinds ...string) (*inventory, error) {
	kinds = append(kinds, typeDatacenter, typeFolder, typePod, typeCompute, typeCluster, typePool)
	slices.Sort(kinds)
	kinds = slices.Compact(kinds)
	var list []types.ObjectContent
	if err := retrieve(ctx, c, c.ServiceContent.RootFolder, kinds, []string{"name", "parent"}, &list); err != nil {
		return nil, fmt.Errorf("list the inventory: %w", explain(err))
	}
	inv := &inventory{items: map[types.ManagedObjectReference]item{}}
	for _, o := range list {
		i := item{ref: o.Obj}
		for _, p := range o.PropSet {
			switch value := p.Val.(type) {
			case string:
				i.name = unescape(value)
			case types.ManagedObjectReference:
				i.parent = value
			}
		}
		inv.items[o.Obj] = i
	}
	return inv, nil
}

// unescape returns a name as users see it: the API escapes slashes and percent signs.
func unescape(name string) string {
	if plain, err := url.PathUnescape(name); err == nil {
		return plain
	}
	return name
}

// path returns an object's path, such as "/DC0/vm/templates/debian".
func (inv *inventory) path(ref types.ManagedObjectReference) string {
	path := ""
	for {
		i, ok := inv.items[ref]
		if !ok { // the root folder has no name
			return path
		}
		path = "/" + i.name + path
		ref = i.parent
	}
}

// within reports whether an object lies in another one.
func (inv *inventory) within(ref, outer types.ManagedObjectReference) bool {
	for {
		i, ok := inv.items[ref]
		if !ok {
			return false
		}
		if i.parent == outer {
			return true
		}
		ref = i.parent
	}
}

// of returns the objects of the types in another one, in the order of their paths.
func (inv *inventory) of(in types.ManagedObjectReference, kinds ...string) []item {
	var list []item
	for ref, i := range inv.items {
		if slices.Contains(kinds, ref.Type) && (in.Value == "" || inv.within(ref, in)) {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b item) int { return strings.Compare(inv.path(a.ref), inv.path(b.ref)) })
	return list
}

// named returns the object that an option names: by its name, its path, or the end of
// that.
func (inv *inventory) named(option, name string, list []item) (item, error) {
	var found []item
	var names, paths []string
	want := "/" + strings.Trim(name, "/")
	for _, i := range list {
		names = append(names, i.name)
		if path := inv.path(i.ref); i.name == name || strings.HasSuffix(path, want) && (!strings.HasPrefix(name, "/") || path == want) {
			found, paths = append(found, i), append(paths, path)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return item{}, fmt.Errorf("%s: there is no %q%s", option, name, spell.Hint(name, "there are", slices.Compact(names)))
	}
	return item{}, fmt.Errorf("%s: %q is the name of several: give the path of one of %s", option, name, spell.List(paths))
}

// only returns the one of a list, where the option does not say which.
func (inv *inventory) only(option, what string, list []item) (item, error) {
	if len(list) == 1 {
		return list[0], nil
	}
	var names []string
	for _, i := range list {
		names = append(names, i.name)
	}
	if len(list) == 0 {
		return item{}, fmt.Errorf("%s: there is no %s that this user may see", option, what)
	}
	return item{}, fmt.Errorf("%s: there is more than one %s: say which one (%s)", option, what, spell.List(slices.Compact(names)))
}
