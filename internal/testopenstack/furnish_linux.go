package testopenstack

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/hypervisors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/services"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/external"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/provider"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
)

// Users of the cloud, and what they log in with.
const (
	User     = "admin"
	Other    = "somebody" // a member of the project OtherProject
	Reader   = "reader"   // who may look at that project, and change nothing
	Password = "pw"
	Project  = "admin"

	OtherProject = "other"
)

// RealHost is the availability zone of the host whose servers are virtual machines. None is
// there that does not ask for it.
const RealHost = "nova:host2"

// Provider logs in.
func (c *Cloud) Provider(ctx context.Context) (*gophercloud.ProviderClient, error) {
	return openstack.AuthenticatedClient(ctx, gophercloud.AuthOptions{
		IdentityEndpoint: c.URL, Username: User, Password: Password, DomainName: "Default", AllowReauth: true,
		Scope: &gophercloud.AuthScope{ProjectName: Project, DomainName: "Default"},
	})
}

// furnish makes the flavors and networks that tests know: the flavors tiny and small, the
// network build, and the external network outside.
func (c *Cloud) furnish(ctx context.Context) error {
	p, err := c.Provider(ctx)
	if err != nil {
		return err
	}
	e := gophercloud.EndpointOpts{Region: Region}
	compute, err := openstack.NewComputeV2(p, e)
	if err != nil {
		return err
	}
	for name, o := range map[string]struct{ ram, disk int }{"tiny": {64, 1}, "small": {2048, 20}} {
		disk := o.disk
		if _, err := flavors.Create(ctx, compute, flavors.CreateOpts{Name: name, RAM: o.ram, VCPUs: 1, Disk: &disk}).Extract(); err != nil {
			return fmt.Errorf("make the flavor %s: %w", name, err)
		}
	}
	network, err := openstack.NewNetworkV2(p, e)
	if err != nil {
		return err
	}
	if err := connect(ctx, network); err != nil {
		return err
	}
	if err := limit(ctx, p); err != nil {
		return err
	}
	for range 1800 { // until the scheduler sees the hosts
		pages, err := services.List(compute, services.ListOpts{Binary: "nova-compute"}).AllPages(ctx)
		if err != nil {
			return err
		}
		list, err := services.ExtractServices(pages)
		if err != nil {
			return err
		}
		mapped, err := hypervisors.List(compute, nil).AllPages(ctx) // those that the scheduler has found
		if err != nil {
			return err
		}
		hosts, err := hypervisors.ExtractHypervisors(mapped)
		if err != nil {
			return err
		}
		down := slices.ContainsFunc(list, func(s services.Service) bool { return s.State != "up" })
		if len(list) == 2 && !down && len(hosts) == 2 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("the hosts of servers do not come up: see %s/log", c.State)
}

func connect(ctx context.Context, c *gophercloud.ServiceClient) error {
	outside := true
	ids := map[string]string{}
	for _, n := range []struct {
		name, cidr, gateway string
		external            bool
	}{{"build", "127.50.0.0/24", "127.50.0.1", false}, {"outside", "127.60.0.0/24", "127.60.0.1", true}} {
		var o networks.CreateOptsBuilder = provider.CreateOptsExt{CreateOptsBuilder: networks.CreateOpts{Name: n.name}, Segments: []provider.Segment{{NetworkType: "local"}}}
		if n.external {
			o = external.CreateOptsExt{CreateOptsBuilder: o, External: &outside}
		}
		made, err := networks.Create(ctx, c, o).Extract()
		if err != nil {
			return fmt.Errorf("make the network %s: %w", n.name, err)
		}
		dhcp := false
		s, err := subnets.Create(ctx, c, subnets.CreateOpts{NetworkID: made.ID, Name: n.name, CIDR: n.cidr, IPVersion: 4, GatewayIP: &n.gateway, EnableDHCP: &dhcp}).Extract()
		if err != nil {
			return fmt.Errorf("make the subnet %s: %w", n.cidr, err)
		}
		ids[n.name], ids[n.name+" subnet"] = made.ID, s.ID
	}
	r, err := routers.Create(ctx, c, routers.CreateOpts{Name: "router", GatewayInfo: &routers.GatewayInfo{NetworkID: ids["outside"]}}).Extract()
	if err != nil {
		return fmt.Errorf("make the router: %w", err)
	}
	_, err = routers.AddInterface(ctx, c, r.ID, routers.AddInterfaceOpts{SubnetID: ids["build subnet"]}).Extract()
	return err
}
