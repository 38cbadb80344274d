package testopenstack

import (
	"context"
	"fmt"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/quotasets"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/limits"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/registeredlimits"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/services"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
)

// OtherImages is how many MiB of images the project OtherProject may have in the region
// Second. It may have no servers.
const OtherImages = 12

// enough is what projects may have of images otherwise.
const enough = 1 << 20

// limit makes the quotas of projects, and the user Reader.
func limit(ctx context.Context, p *gophercloud.ProviderClient) error {
	c, err := openstack.NewIdentityV3(p, gophercloud.EndpointOpts{Region: Region})
	if err != nil {
		return err
	}
	other, err := OtherProjectID(ctx, c)
	if err != nil {
		return err
	}
	if err := oversee(ctx, c, other); err != nil {
		return fmt.Errorf("give roles: %w", err)
	}
	pages, err := services.List(c, services.ListOpts{ServiceType: "image"}).AllPages(ctx)
	if err != nil {
		return err
	}
	list, err := services.ExtractServices(pages)
	if err != nil || len(list) != 1 {
		return fmt.Errorf("%d image services: %w", len(list), err)
	}
	var all registeredlimits.BatchCreateOpts
	for _, name := range []string{"image_size_total", "image_stage_total", "image_count_total", "image_count_uploading"} {
		all = append(all, registeredlimits.CreateOpts{ServiceID: list[0].ID, RegionID: Second, ResourceName: name, DefaultLimit: enough})
	}
	if _, err := registeredlimits.BatchCreate(ctx, c, all).Extract(); err != nil {
		return fmt.Errorf("make the quotas of images: %w", err)
	}
	own := limits.BatchCreateOpts{{ServiceID: list[0].ID, RegionID: Second, ProjectID: other, ResourceName: "image_size_total", ResourceLimit: OtherImages}}
	if _, err := limits.BatchCreate(ctx, c, own).Extract(); err != nil {
		return fmt.Errorf("make the quota of %s: %w", OtherProject, err)
	}
	compute, err := openstack.NewComputeV2(p, gophercloud.EndpointOpts{Region: Region})
	if err != nil {
		return err
	}
	_, err = quotasets.Update(ctx, compute, other, quotasets.UpdateOpts{Instances: new(int)}).Extract()
	return err
}

// OtherProjectID returns the id of the project OtherProject.
func OtherProjectID(ctx context.Context, c *gophercloud.ServiceClient) (string, error) {
	pages, err := projects.List(c, projects.ListOpts{Name: OtherProject}).AllPages(ctx)
	if err != nil {
		return "", err
	}
	list, err := projects.ExtractProjects(pages)
	if err != nil || len(list) != 1 {
		return "", fmt.Errorf("%d projects of the name %s: %w", len(list), OtherProject, err)
	}
	return list[0].ID, nil
}

// oversee lets Glance see the limits of all projects, and Reader the project other.
func oversee(ctx context.Context, c *gophercloud.ServiceClient, other string) error {
	pages, err := roles.List(c, roles.ListOpts{Name: "reader"}).AllPages(ctx)
	if err != nil {
		return err
	}
	found, err := roles.ExtractRoles(pages)
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%d roles: %w", len(found), err)
	}
	if pages, err = users.List(c, users.ListOpts{Name: "glance"}).AllPages(ctx); err != nil {
		return err
	}
	glance, err := users.ExtractUsers(pages)
	if err != nil || len(glance) != 1 {
		return fmt.Errorf("%d users: %w", len(glance), err)
	}
	resp, err := c.Put(ctx, c.ServiceURL("system", "users", glance[0].ID, "roles", found[0].ID), nil, nil, &gophercloud.RequestOpts{OkCodes: []int{204}})
	if _, _, err = gophercloud.ParseResponse(resp, err); err != nil {
		return err
	}
	reader, err := users.Create(ctx, c, users.CreateOpts{Name: Reader, Password: Password, DomainID: "default"}).Extract()
	if err != nil {
		return err
	}
	return roles.Assign(ctx, c, found[0].ID, roles.AssignOpts{UserID: reader.ID, ProjectID: other}).ExtractErr()
}
