package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/instance"
	"bake.build/bake/platforms/resource"
)

// A place is where servers of a build run, and what they share.
type place struct {
	region           string
	compute, network *gophercloud.ServiceClient

	networks []servers.Network
	first    string   // the name of the network that SSH goes to; "" for any
	groups   []string // ids of security groups
	key      string   // the name of the key pair; "" where user data brings the key
	open     bool     // Neutron filters nothing in the networks, and refuses security groups
	pool     string   // the id of the network of floating addresses, or ""
	cleanup  resource.Stack
}

// place makes what servers need, when the first one is started.
func (d *driver) place(ctx context.Context) (*place, error) {
	return d.site.Place(func() (*place, error) {
		if err := d.options.CheckProject(d.host.Ledger().Project()); err != nil {
			return nil, err
		}
		region, err := d.clients.home(ctx)
		if err != nil {
			return nil, err
		}
		p := &place{region: region}
		if p.compute, err = d.clients.compute(ctx, region); err != nil {
			return nil, err
		}
		if p.network, err = d.clients.network(ctx, region); err != nil {
			return nil, err
		}
		if err := d.setUp(ctx, p); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", region, err), p.cleanup.Close(context.WithoutCancel(ctx)))
		}
		return p, nil
	})
}

func (d *driver) setUp(ctx context.Context, p *place) error {
	if err := d.connect(ctx, p); err != nil {
		return err
	}
	o := &d.options
	if len(o.SecurityGroups) > 0 {
		list, err := d.listGroups(ctx, p.region, groups.ListOpts{})
		if err != nil {
			return fmt.Errorf("security_groups: %w", err)
		}
		for _, name := range o.SecurityGroups {
			g, err := named(list, "security group", name, func(g groups.SecGroup) (string, string) { return g.ID, g.Name })
			if err != nil {
				return fmt.Errorf("security_groups: %w", err)
			}
			p.groups = append(p.groups, g.ID)
		}
	}
	if len(o.SecurityGroups)+len(o.Ports) == 0 && !p.open {
		if err := d.makeGroup(ctx, p); err != nil {
			return fmt.Errorf("make a security group: %w", err)
		}
	}
	if o.Key != keyUserData {
		if err := d.importKey(ctx, p); err != nil {
			return fmt.Errorf("make a key pair: %w", err)
		}
	}
	return nil
}

// connect finds the networks of servers.
func (d *driver) connect(ctx context.Context, p *place) error {
	o := &d.options
	for _, port := range o.Ports {
		p.networks = append(p.networks, servers.Network{Port: port})
	}
	list, err := d.listNetworks(ctx, p.region)
	if err != nil {
		return err
	}
	for n, text := range o.Networks {
		name, address := splitNetwork(text)
		found, err := networkNamed(list, name)
		if err != nil {
			return fmt.Errorf("networks: %w", err)
		}
		if n == 0 {
			p.first = found.Name
		}
		p.networks = append(p.networks, servers.Network{UUID: found.ID, FixedIP: address})
		p.open = p.open || found.open()
	}
	if len(p.networks) == 0 {
		if len(list) != 1 {
			var names []string
			for _, n := range list {
				names = append(names, n.Name)
			}
			return &platforms.OptionError{Err: fmt.Errorf("networks: say which: the project can use %d: %q", len(list), names)}
		}
		p.networks, p.first, p.open = []servers.Network{{UUID: list[0].ID}}, list[0].Name, list[0].open()
	}
	if o.FloatingPool != "" {
		found, err := networkNamed(list, o.FloatingPool)
		if err != nil {
			return fmt.Errorf("floating_pool: %w", err)
		}
		p.pool = found.ID
	}
	return nil
}

// A network is one of Neutron.
type network struct {
	networks.Network
	PortSecurity
}

// PortSecurity is the part of a network that says whether Neutron filters in it. Its name is
// exported because gophercloud reads embedded structs only then.
type PortSecurity struct {
	Enabled *bool `json:"port_security_enabled"` // nil where the cloud always filters
}

// open reports whether Neutron filters nothing in the network.
func (n network) open() bool { return n.Enabled != nil && !*n.Enabled }

func (d *driver) listNetworks(ctx context.Context, region string) ([]network, error) {
	return listed(ctx, d.clients.network, region, "look for networks",
		func(c *gophercloud.ServiceClient) pagination.Pager { return networks.List(c, networks.ListOpts{}) },
		func(page pagination.Page) (list []network, err error) {
			err = networks.ExtractNetworksInto(page, &list)
			return list, err
		})
}

// networkNamed returns the network of a name or an id.
func networkNamed(list []network, name string) (network, error) {
	return named(list, "network", name, func(n network) (string, string) { return n.ID, n.Name })
}

// named returns what has a name or an id, of a kind such as "network".
func named[T any](list []T, kind, name string, of func(T) (id, name string)) (found T, err error) {
	var names []string
	n := 0
	for _, one := range list {
		id, its := of(one)
		if id == name {
			return one, nil
		}
		if its == name {
			found = one
			n++
		}
		names = append(names, its)
	}
	switch n {
	case 0:
		return found, &platforms.OptionError{Err: fmt.Errorf("there is no %s %q%s", kind, name, spell.Hint(name, "there are", names))}
	case 1:
		return found, nil
	}
	return found, &platforms.OptionError{Err: fmt.Errorf("%d %ss have the name %q: give the id", n, kind, name)}
}

func (d *driver) listGroups(ctx context.Context, region string, o groups.ListOpts) (_ []groups.SecGroup, err error) {
	if o.ProjectID, err = d.clients.project(ctx); err != nil {
		return nil, err
	}
	return optional(listed(ctx, d.clients.network, region, region+": look for security groups",
		func(c *gophercloud.ServiceClient) pagination.Pager { return groups.List(c, o) }, groups.ExtractGroups))
}

// groupNote is what a group's description says before the build's id: Neutron has no marks
// that all clouds know.
const groupNote = "lets bake log in to the servers of the build "

const sshPort = 22

// makeGroup makes a security group that lets in who needs it, and nobody else.
func (d *driver) makeGroup(ctx context.Context, p *place) error {
	from, err := d.sshFrom(ctx)
	if err != nil {
		return err
	}
	name := "bake-" + newToken()
	id, record, err := resource.Make(ctx, d.Manager, kindGroup, p.region, name, func(ctx context.Context) (string, error) {
		g, err := groups.Create(ctx, p.network, groups.CreateOpts{Name: name, Description: groupNote + d.host.Ledger().Build()}).Extract()
		if err != nil {
			return "", judge(err)
		}
		return g.ID, nil
	})
	if err != nil {
		return err
	}
	p.cleanup.Push(record, func(ctx context.Context) error { return d.deleteGroup(ctx, p.region, id) })
	p.groups = []string{id}
	for _, prefix := range from {
		kind := rules.EtherType4
		if !prefix.Addr().Is4() {
			kind = rules.EtherType6
		}
		_, err := rules.Create(ctx, p.network, rules.CreateOpts{
			Direction: rules.DirIngress, EtherType: kind, SecGroupID: id, Protocol: rules.ProtocolTCP, PortRangeMin: sshPort, PortRangeMax: sshPort, RemoteIPPrefix: prefix.String(),
		}).Extract()
		if err != nil && !conflict(err) { // by a request whose answer was lost
			return fmt.Errorf("let %s in: %w", prefix, explain(err))
		}
	}
	return nil
}

// sshFrom returns the networks that the build's group lets in: by default the address that
// packets to the identity service go out from.
func (d *driver) sshFrom(ctx context.Context) (list []netip.Prefix, err error) {
	for _, text := range d.options.SSHFrom {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		list = append(list, prefix.Masked())
	}
	if len(list) > 0 {
		return list, nil
	}
	s, err := d.clients.login(ctx)
	if err != nil {
		return nil, err
	}
	own, err := ownAddress(ctx, s.url)
	if err != nil {
		return nil, fmt.Errorf("find out this host's address (or say it with ssh_from): %w", err)
	}
	return []netip.Prefix{netip.PrefixFrom(own, own.BitLen())}, nil
}

// ownAddress returns the address that packets to a service go out from.
func ownAddress(ctx context.Context, service string) (netip.Addr, error) {
	u, err := url.Parse(service)
	if err != nil {
		return netip.Addr{}, err
	}
	return instance.OwnAddress(ctx, u.Hostname())
}

// importKey makes the build's key a key pair of Nova. The private half stays here.
func (d *driver) importKey(ctx context.Context, p *place) error {
	key, err := d.key()
	if err != nil {
		return err
	}
	name := keyName(d.host.Ledger().Build(), newToken())
	_, record, err := resource.Make(ctx, d.Manager, kindKeyPair, p.region, name, func(ctx context.Context) (string, error) {
		_, err := keypairs.Create(ctx, p.compute, keypairs.CreateOpts{Name: name, PublicKey: key.Authorized()}).Extract()
		return name, judge(err)
	})
	if err != nil {
		return err
	}
	p.key = name
	p.cleanup.Push(record, func(ctx context.Context) error {
		return unless(keypairs.Delete(ctx, p.compute, name, nil).ExtractErr())
	})
	return nil
}

// deleteGroup removes a security group once no port has it any more.
func (d *driver) deleteGroup(ctx context.Context, region, id string) error {
	c, err := d.clients.network(ctx, region)
	if err != nil {
		return err
	}
	return d.loop(fmt.Sprintf("%s: the end of the security group %s", region, id), endTimeout, 0).Until(ctx, func(ctx context.Context) (bool, error) {
		err := groups.Delete(ctx, c, id).ExtractErr()
		if conflict(err) {
			return false, nil
		}
		return true, unless(err)
	})
}
