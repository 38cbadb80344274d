package openstack

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
)

// float gives the server a floating address, where the options ask for one.
func (m *machine) float(ctx context.Context) error {
	o := &m.d.options
	if m.p.pool == "" && o.FloatingAddress == "" {
		return nil
	}
	port, err := m.port(ctx)
	if err != nil {
		return err
	}
	if o.FloatingAddress != "" {
		return m.take(ctx, o.FloatingAddress, port)
	}
	m.address, m.floating, err = resource.Make(ctx, m.d.Manager, kindAddress, m.p.region, m.name, func(ctx context.Context) (string, error) {
		ip, err := floatingips.Create(ctx, m.p.network, floatingips.CreateOpts{Description: m.name, FloatingNetworkID: m.p.pool, PortID: port, FixedIP: m.address}).Extract()
		if err != nil {
			return "", fmt.Errorf("%s: get a floating address: %w", m.p.region, judge(err))
		}
		return ip.FloatingIP, nil
	})
	if err != nil {
		return err
	}
	m.say("%s: the server %s has the floating address %s", m.p.region, m.name, m.address)
	return nil
}

// port returns the id of the server's port that has its address.
func (m *machine) port(ctx context.Context) (string, error) {
	list, err := listed(ctx, m.d.clients.network, m.p.region, m.p.region+": look for the ports of "+m.id,
		func(c *gophercloud.ServiceClient) pagination.Pager {
			return ports.List(c, ports.ListOpts{DeviceID: m.id})
		}, ports.ExtractPorts)
	if err != nil {
		return "", err
	}
	n := slices.IndexFunc(list, func(p ports.Port) bool {
		return slices.ContainsFunc(p.FixedIPs, func(ip ports.IP) bool { return ip.IPAddress == m.address })
	})
	if n < 0 {
		return "", fmt.Errorf("%s: the server %s has no port with its address %s", m.p.region, m.id, m.address)
	}
	return list[n].ID, nil
}

// take gives the server a floating address that the project has. It has no record: it is
// free again when the server has gone.
func (m *machine) take(ctx context.Context, address, port string) error {
	list, err := m.d.addresses(ctx, m.p.region, floatingips.ListOpts{FloatingIP: address})
	if err != nil {
		return err
	}
	switch {
	case len(list) != 1:
		return &platforms.OptionError{Err: fmt.Errorf("floating_address: the project has no floating address %s in %s", address, m.p.region)}
	case list[0].PortID != "":
		return &platforms.OptionError{Err: fmt.Errorf("floating_address: %s is in use by the port %s", address, list[0].PortID)}
	}
	if _, err := floatingips.Update(ctx, m.p.network, list[0].ID, floatingips.UpdateOpts{PortID: &port, FixedIP: m.address}).Extract(); err != nil {
		return fmt.Errorf("%s: give the server %s the floating address %s: %w", m.p.region, m.name, address, explain(err))
	}
	m.taken, m.address = list[0].ID, address
	return nil
}

// sink takes the floating address from the server.
func (m *machine) sink(ctx context.Context) error {
	if m.floating != nil {
		err := m.floating.Remove(ctx, func(ctx context.Context) error {
			_, err := m.d.deleteAddresses(ctx, m.p.region, m.name)
			return err
		})
		if err != nil {
			return err
		}
		m.floating = nil
	}
	if m.taken == "" {
		return nil
	}
	if _, err := floatingips.Update(ctx, m.p.network, m.taken, floatingips.UpdateOpts{PortID: new(string)}).Extract(); err != nil && !missing(err) {
		return errors.Join(fmt.Errorf("%s: take the floating address from the server %s", m.p.region, m.name), explain(err))
	}
	m.taken = ""
	return nil
}
