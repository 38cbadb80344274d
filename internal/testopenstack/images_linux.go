package testopenstack

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
)

func (c *Cloud) glance(ctx context.Context) (*gophercloud.ServiceClient, error) {
	p, err := c.Provider(ctx)
	if err != nil {
		return nil, err
	}
	return openstack.NewImageV2(p, gophercloud.EndpointOpts{Region: Region})
}

// Disk is the data of images that AddImage makes, again and again: servers on them have
// this host's files.
const Disk = "a disk "

// AddImage makes an image, unless there is one of the name. "visibility" and "min_disk" are
// the image's own.
func (c *Cloud) AddImage(ctx context.Context, name string, properties map[string]string) error {
	g, err := c.glance(ctx)
	if err != nil {
		return err
	}
	all, err := c.Images(ctx)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Name == name {
			return nil
		}
	}
	o := images.CreateOpts{Name: name, DiskFormat: "raw", ContainerFormat: "bare", Properties: maps.Clone(properties)}
	if v := images.ImageVisibility(properties["visibility"]); v != "" {
		o.Visibility = &v
		delete(o.Properties, "visibility")
	}
	if text := properties["min_disk"]; text != "" {
		if o.MinDisk, err = strconv.Atoi(text); err != nil {
			return err
		}
		delete(o.Properties, "min_disk")
	}
	i, err := images.Create(ctx, g, o).Extract()
	if err != nil {
		return fmt.Errorf("make the image %s: %w", name, err)
	}
	return imagedata.Upload(ctx, g, i.ID, strings.NewReader(strings.Repeat(Disk, 1000))).ExtractErr()
}

// Images returns the images of the cloud.
func (c *Cloud) Images(ctx context.Context) ([]images.Image, error) {
	g, err := c.glance(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := images.List(g, images.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	return images.ExtractImages(pages)
}

// NewImage makes an image without data, and returns the URL that takes it, with a token.
func (c *Cloud) NewImage(ctx context.Context, name string) (url, token string, err error) {
	g, err := c.glance(ctx)
	if err != nil {
		return "", "", err
	}
	i, err := images.Create(ctx, g, images.CreateOpts{Name: name, DiskFormat: "raw", ContainerFormat: "bare"}).Extract()
	if err != nil {
		return "", "", err
	}
	return g.ServiceURL("images", i.ID, "file"), g.Token(), nil
}

// Env are the variables OS_* that log in, but for the password.
func (c *Cloud) Env() []string {
	return []string{"OS_AUTH_URL=" + c.URL, "OS_USERNAME=" + User, "OS_PROJECT_NAME=" + Project, "OS_REGION_NAME=" + Region}
}

// Left returns the names of what is bake's in the cloud and is neither a finished image nor
// a layer: servers, key pairs, security groups, and images.
func (c *Cloud) Left(ctx context.Context) (left []string, err error) {
	all, err := c.Images(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.Properties["bake:build"] != nil && i.Properties["bake:ready"] == nil && i.Properties["bake:key"] == nil {
			left = append(left, "image "+i.Name)
		}
	}
	p, err := c.Provider(ctx)
	if err != nil {
		return nil, err
	}
	e := gophercloud.EndpointOpts{Region: Region}
	compute, err := openstack.NewComputeV2(p, e)
	if err != nil {
		return nil, err
	}
	pages, err := servers.List(compute, servers.ListOpts{Name: "^bake-"}).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	list, err := servers.ExtractServers(pages)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		left = append(left, "server "+s.Name)
	}
	if pages, err = keypairs.List(compute, nil).AllPages(ctx); err != nil {
		return nil, err
	}
	keys, err := keypairs.ExtractKeyPairs(pages)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		left = append(left, "key pair "+k.Name)
	}
	network, err := openstack.NewNetworkV2(p, e)
	if err != nil {
		return nil, err
	}
	if pages, err = groups.List(network, groups.ListOpts{}).AllPages(ctx); err != nil {
		return nil, err
	}
	found, err := groups.ExtractGroups(pages)
	for _, g := range found {
		if strings.HasPrefix(g.Name, "bake-") {
			left = append(left, "security group "+g.Name)
		}
	}
	return left, err
}
