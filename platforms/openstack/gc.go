package openstack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/resource"
)

// Kinds of resources. An image is found by its id, which is chosen before there is one; all
// else by its name, and an address by its description, which is its server's name.
const (
	kindServer  = "server"
	kindImage   = "image"
	kindLayer   = "layer"
	kindVolume  = "volume"
	kindAddress = "floating address"
	kindKeyPair = "key pair"
	kindGroup   = "security group"
)

// collectServer ends the server of a name.
func (d *driver) collectServer(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	list, err := d.listServers(ctx, r.Place, lookForServers, servers.ListOpts{Name: "^" + r.ID + "$"})
	if err != nil {
		return got, err
	}
	list = slices.DeleteFunc(list, func(s servers.Server) bool { return s.Name != r.ID })
	return platforms.Collected{Removed: len(list) > 0}, d.endServers(ctx, r.Place, list)
}

// endServers ends servers and waits for that.
func (d *driver) endServers(ctx context.Context, region string, list []servers.Server) error {
	for _, s := range list {
		if err := d.deleteServer(ctx, region, s.ID); err != nil {
			return err
		}
	}
	for _, s := range list {
		if err := d.waitGone(ctx, region, s.ID); err != nil {
			return err
		}
	}
	return nil
}

const lookForServers = "look for servers"

func (d *driver) listServers(ctx context.Context, region, doing string, o servers.ListOpts) ([]servers.Server, error) {
	return optional(listed(ctx, d.clients.compute, region, region+": "+doing,
		func(c *gophercloud.ServiceClient) pagination.Pager { return servers.List(c, o) }, servers.ExtractServers))
}

// collectImage removes an image that no build has finished or taken over. One that is a
// layer, too, stays.
func (d *driver) collectImage(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	i, err := d.image(ctx, r.Place, r.ID)
	if err != nil || i == nil {
		return got, err
	}
	if got.Kept = i.Facts().Kept(r.Build); got.Kept == "" && i.property(remote.Key) != "" {
		got.Kept = "the image " + i.ID + " is a layer"
	}
	if got.Kept != "" {
		return got, nil
	}
	return platforms.Collected{Removed: true}, d.remove(ctx, *i)
}

// collectLayer removes the image of a server that was begun with a name, unless it is
// whole.
func (d *driver) collectLayer(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	list, err := d.own(ctx, r.Place, images.ListOpts{Name: r.ID}, nil)
	if err != nil {
		return got, err
	}
	for _, i := range list {
		if i.Name != r.ID {
			continue
		}
		if i.property(remote.Key) != "" && i.Status == images.ImageStatusActive {
			ready, err := d.snapshotsReady(ctx, i)
			if err == nil && ready {
				return platforms.Collected{Kept: "the layer " + i.ID + " is whole"}, nil
			}
		}
		got.Removed = true
		if err := d.remove(ctx, i); err != nil {
			return got, err
		}
	}
	return got, nil
}

// collectKeyPair removes a key pair.
func (d *driver) collectKeyPair(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	c, err := d.clients.compute(ctx, r.Place)
	if err != nil {
		return got, err
	}
	err = keypairs.Delete(ctx, c, r.ID, nil).ExtractErr()
	if missing(err) {
		return got, nil
	}
	return platforms.Collected{Removed: err == nil}, explain(err)
}

// collectGroup removes a security group by its name and, before it, servers of bake's that
// are still in it: one whose making was asked for a moment before its build was killed may
// have come after all others were looked for.
func (d *driver) collectGroup(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	list, err := d.listGroups(ctx, r.Place, groups.ListOpts{Name: r.ID})
	if err != nil || len(list) == 0 {
		return got, err
	}
	in, err := d.listServers(ctx, r.Place, lookForServers, servers.ListOpts{Name: "^bake-"})
	if err != nil {
		return got, err
	}
	in = slices.DeleteFunc(in, func(s servers.Server) bool {
		return s.Metadata[publish.Build] == "" || !slices.ContainsFunc(s.SecurityGroups, func(g map[string]any) bool { return g["name"] == r.ID })
	})
	if err := d.endServers(ctx, r.Place, in); err != nil {
		return got, err
	}
	for _, g := range list {
		if err == nil {
			got.Removed, err = true, d.deleteGroup(ctx, r.Place, g.ID)
		}
	}
	return got, err
}

// collectAddress gives back the floating address of a server.
func (d *driver) collectAddress(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	got.Removed, err = d.deleteAddresses(ctx, r.Place, r.ID)
	return got, err
}

func (d *driver) addresses(ctx context.Context, region string, o floatingips.ListOpts) (_ []floatingips.FloatingIP, err error) {
	if o.ProjectID, err = d.clients.project(ctx); err != nil {
		return nil, err
	}
	list, err := optional(listed(ctx, d.clients.network, region, region+": look for floating addresses",
		func(c *gophercloud.ServiceClient) pagination.Pager { return floatingips.List(c, o) }, floatingips.ExtractFloatingIPs))
	if missing(err) {
		return nil, nil // a cloud without routers
	}
	return list, err
}

// deleteAddresses gives back the floating addresses of a server by its name, and reports
// whether there are any.
func (d *driver) deleteAddresses(ctx context.Context, region, name string) (found bool, err error) {
	list, err := d.addresses(ctx, region, floatingips.ListOpts{Description: name})
	if err != nil || len(list) == 0 {
		return false, err
	}
	c, err := d.clients.network(ctx, region)
	if err != nil {
		return false, err
	}
	var errs []error
	for _, a := range list {
		errs = append(errs, unless(floatingips.Delete(ctx, c, a.ID).ExtractErr()))
	}
	return true, errors.Join(errs...)
}

// tagged returns what builds have begun in a region and neither finished nor removed.
func (d *driver) tagged(ctx context.Context, region string) (found []resource.Found, err error) {
	var errs []error
	for _, look := range []func(context.Context, string) ([]resource.Found, error){
		d.taggedServers, d.taggedImages, d.taggedVolumes, d.taggedAddresses, d.taggedKeyPairs, d.taggedGroups,
	} {
		list, err := look(ctx, region)
		found, errs = append(found, list...), append(errs, err)
	}
	return found, errors.Join(errs...)
}

func (d *driver) taggedServers(ctx context.Context, region string) (found []resource.Found, err error) {
	list, err := d.listServers(ctx, region, lookForServers, servers.ListOpts{Name: "^bake-"})
	for _, s := range list {
		if build := s.Metadata[publish.Build]; build != "" {
			found = append(found, resource.Found{Kind: kindServer, ID: s.Name, Build: build, Made: s.Created})
		}
	}
	return found, err
}

// taggedImages returns images that were not finished, and layers that are not whole.
func (d *driver) taggedImages(ctx context.Context, region string) (found []resource.Found, err error) {
	list, err := d.own(ctx, region, images.ListOpts{}, nil)
	for _, i := range list {
		marks := i.marks()
		f := resource.Found{Kind: kindImage, ID: i.ID, Build: marks[publish.Build], Made: i.CreatedAt}
		if marks[remote.Key] != "" && marks[publish.Identity] == "" {
			f.Kind, f.ID = kindLayer, i.Name
		}
		if f.Build != "" && marks[publish.Ready] == "" && (marks[remote.Key] == "" || i.Facts().State != publish.Available) {
			found = append(found, f)
		}
	}
	return found, err
}

func (d *driver) taggedAddresses(ctx context.Context, region string) (found []resource.Found, err error) {
	list, err := d.addresses(ctx, region, floatingips.ListOpts{})
	for _, a := range list {
		if strings.HasPrefix(a.Description, "bake-") {
			found = append(found, resource.Found{Kind: kindAddress, ID: a.Description, Made: a.CreatedAt})
		}
	}
	return found, err
}

// keyName is the name of a build's key pair, which has no marks.
func keyName(build, token string) string { return "bake-" + token + " build " + build }

// taggedKeyPairs returns the key pairs of the user.
func (d *driver) taggedKeyPairs(ctx context.Context, region string) (found []resource.Found, err error) {
	list, err := optional(listed(ctx, d.clients.compute, region, region+": look for key pairs",
		func(c *gophercloud.ServiceClient) pagination.Pager { return keypairs.List(c, nil) }, keypairs.ExtractKeyPairs))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	c, err := d.clients.compute(ctx, region)
	if err != nil {
		return nil, err
	}
	for _, k := range list {
		name, build, ok := strings.Cut(k.Name, " build ")
		if !ok || !strings.HasPrefix(name, "bake-") {
			continue
		}
		var pair struct {
			CreatedAt string `json:"created_at"`
		}
		if err := keypairs.Get(ctx, c, k.Name, nil).ExtractIntoStructPtr(&pair, "keypair"); missing(err) {
			continue
		} else if err != nil {
			return found, explain(err)
		}
		made, err := time.Parse("2006-01-02T15:04:05.999999", strings.TrimSuffix(pair.CreatedAt, "Z"))
		if err != nil {
			return found, fmt.Errorf("%s: the key pair %s: %w", region, k.Name, err)
		}
		found = append(found, resource.Found{Kind: kindKeyPair, ID: k.Name, Build: build, Made: made})
	}
	return found, nil
}

func (d *driver) taggedGroups(ctx context.Context, region string) (found []resource.Found, err error) {
	list, err := d.listGroups(ctx, region, groups.ListOpts{})
	for _, g := range list {
		if build, ok := strings.CutPrefix(g.Description, groupNote); ok {
			found = append(found, resource.Found{Kind: kindGroup, ID: g.Name, Build: build, Made: g.CreatedAt})
		}
	}
	return found, err
}
