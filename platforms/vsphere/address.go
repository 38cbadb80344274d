package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms/wait"
)

// A filter says which addresses of a machine are connected to.
type filter struct {
	version string // "4", "6" or "any"
	ignored []netip.Prefix
}

func (o *Options) filter() (f filter, err error) {
	f.version = cmp.Or(o.IPVersion, "any")
	for _, text := range o.IgnoreNetworks {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return f, fmt.Errorf("ignore_networks: %w", err)
		}
		f.ignored = append(f.ignored, p)
	}
	return f, nil
}

// takes reports whether an address may be connected to.
func (f filter) takes(a netip.Addr) bool {
	a = a.Unmap()
	return !a.IsLinkLocalUnicast() && !a.IsUnspecified() && (f.version != "4" || a.Is4()) && (f.version != "6" || a.Is6()) &&
		!slices.ContainsFunc(f.ignored, func(p netip.Prefix) bool { return p.Contains(a) })
}

// address returns the address that a guest is reached by, or "", and those that it has
// besides. Interfaces that are no card of the machine, such as bridges of containers, have
// a device of less than zero.
func (f filter) address(g *types.GuestInfo) (address string, others []string) {
	var found []netip.Addr
	see := func(texts ...string) {
		for _, text := range texts {
			a, err := netip.ParseAddr(text)
			switch {
			case err != nil:
			case f.takes(a):
				found = append(found, a)
			default:
				others = append(others, text)
			}
		}
	}
	for _, card := range g.Net {
		if card.DeviceConfigId < 0 {
			others = append(others, card.IpAddress...)
			continue
		}
		see(card.IpAddress...)
	}
	if len(g.Net) == 0 {
		see(g.IpAddress)
	}
	if len(found) == 0 {
		return "", others
	}
	// A network of both kinds has IPv4 set up more often than IPv6.
	slices.SortStableFunc(found, func(a, b netip.Addr) int { return cmp.Compare(a.BitLen(), b.BitLen()) })
	return found[0].String(), others
}

// guestPauses are the times after which a guest is asked again for its address.
const guestPauseMost = 3 * time.Second

// waitAddress waits until VMware Tools report an address of the guest.
func (m *machine) waitAddress(ctx context.Context, timeout time.Duration) (address string, err error) {
	f, err := m.d.options.filter()
	if err != nil {
		return "", err
	}
	c, err := m.d.vim(ctx)
	if err != nil {
		return "", err
	}
	m.logger.Progress("wait for VMware Tools to report an address", 0, 0)
	var seen mo.VirtualMachine
	var others []string
	loop := wait.Loop{What: m.name, Timeout: timeout, Backoff: wait.Backoff{Next: m.d.pause, Most: max(guestPauseMost, m.d.pause)}}
	err = loop.Until(ctx, func(ctx context.Context) (bool, error) {
		seen = mo.VirtualMachine{}
		err := property.DefaultCollector(c).RetrieveOne(ctx, m.ref, []string{"guest.net", "guest.ipAddress", "guest.toolsRunningStatus", "runtime.powerState"}, &seen)
		if err != nil {
			return false, explain(err)
		}
		if seen.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOff {
			return false, errors.New("the machine has turned off while it started")
		}
		if seen.Guest != nil {
			address, others = f.address(seen.Guest)
		}
		return address != "", nil
	})
	if errors.Is(err, wait.ErrTimeout) {
		return "", fmt.Errorf("%w: %s", err, silent(seen.Guest, others))
	}
	return address, err
}

// silent says why a guest has told no address that can be used.
func silent(g *types.GuestInfo, others []string) string {
	switch {
	case len(others) > 0:
		return "its addresses are all of networks that are ignored or of another ip_version: " + spell.List(others)
	case g != nil && strings.HasSuffix(g.ToolsRunningStatus, "Running") && g.ToolsRunningStatus != string(types.VirtualMachineToolsRunningStatusGuestToolsNotRunning):
		return "VMware Tools run and report no address: has its network a DHCP server, or does user_data set it up?"
	}
	return "VMware Tools do not run in it: the origin needs open-vm-tools, which tell its address"
}
