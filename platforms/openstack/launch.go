package openstack

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// Boot implements platforms.Driver: it starts a server on the last layer.
func (d *driver) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (platforms.Machine, error) {
	i, err := d.layer(ctx, chain[len(chain)-1].Ref, out)
	if err != nil {
		return nil, err
	}
	flavor, err := d.flavor(ctx, *i)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", i.region, err)
	}
	if err := d.mayLaunch(ctx, *i, flavor); err != nil {
		return nil, fmt.Errorf("%s: %w", i.region, err)
	}
	p, err := d.place(ctx)
	if err != nil {
		return nil, err
	}
	m, err := d.launch(ctx, *i, flavor, p, out)
	if err != nil {
		return nil, err
	}
	if err = m.waitRunning(ctx); err == nil {
		err = m.float(ctx)
	}
	if err == nil {
		err = m.enter(ctx, out)
	}
	if err != nil {
		return nil, errors.Join(err, m.End())
	}
	return m, nil
}

// flavor returns the flavor of servers of an image: that of the option, or the smallest
// that fits.
func (d *driver) flavor(ctx context.Context, i image) (*flavors.Flavor, error) {
	list, err := listed(ctx, d.clients.compute, i.region, "look for flavors",
		func(c *gophercloud.ServiceClient) pagination.Pager { return flavors.ListDetail(c, flavors.ListOpts{}) }, flavors.ExtractFlavors)
	if err != nil {
		return nil, err
	}
	o := &d.options
	gib := max(i.MinDiskGigabytes, int((max(i.SizeBytes, i.VirtualSize)+1<<30-1)>>30))
	if o.BootVolume != "" || i.onVolume() {
		gib = 0
	}
	least, err := o.memory()
	if err != nil {
		return nil, err
	}
	mib := max(int(least>>20), i.MinRAMMegabytes)
	if o.Flavor == "" {
		return smallest(list, mib, o.CPUs, gib)
	}
	n := slices.IndexFunc(list, func(f flavors.Flavor) bool { return f.ID == o.Flavor || f.Name == o.Flavor })
	if n < 0 {
		var names []string
		for _, f := range list {
			names = append(names, f.Name)
		}
		return nil, &platforms.OptionError{Err: fmt.Errorf("flavor: there is no %q%s", o.Flavor, spell.Hint(o.Flavor, "there are", names))}
	}
	switch f := &list[n]; {
	case f.Disk < gib && f.Disk != 0:
		return nil, &platforms.OptionError{Err: fmt.Errorf("flavor: %s has a disk of %d GiB, and the image %s needs %d", f.Name, f.Disk, i.Name, gib)}
	case f.RAM < i.MinRAMMegabytes:
		return nil, &platforms.OptionError{Err: fmt.Errorf("flavor: %s has %d MiB of memory, and the image %s needs %d", f.Name, f.RAM, i.Name, i.MinRAMMegabytes)}
	default:
		return f, nil
	}
}

// smallest returns the smallest flavor that has so much of all. A disk of zero is one that
// grows with the image.
func smallest(list []flavors.Flavor, mib, cpus, gib int) (*flavors.Flavor, error) {
	list = slices.DeleteFunc(list, func(f flavors.Flavor) bool {
		return f.RAM < mib || f.VCPUs < cpus || f.Disk < gib && f.Disk != 0
	})
	if len(list) == 0 {
		return nil, &platforms.OptionError{Err: fmt.Errorf("flavor: none has %d MiB of memory, %d CPUs and %d GiB of disk", mib, max(1, cpus), gib)}
	}
	f := slices.MinFunc(list, func(a, b flavors.Flavor) int {
		return cmp.Or(cmp.Compare(a.RAM, b.RAM), cmp.Compare(a.VCPUs, b.VCPUs), cmp.Compare(a.Disk, b.Disk), cmp.Compare(a.Name, b.Name))
	})
	return &f, nil
}

// launch starts a server of an image.
func (d *driver) launch(ctx context.Context, i image, f *flavors.Flavor, p *place, out platforms.Logger) (*machine, error) {
	volume, err := d.bootVolume(ctx, i, p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.region, err)
	}
	c := p.compute
	if d.options.VolumeType != "" && volume == "" {
		if c, err = withVersion(ctx, c, volumeTypeVersion); err != nil {
			return nil, fmt.Errorf("%s: volume_type: %w", p.region, err)
		}
	}
	m := &machine{d: d, p: p, base: i, name: "bake-" + newToken(), logger: out}
	in, err := d.request(m, f, volume)
	if err != nil {
		return nil, err
	}
	m.id, m.record, err = resource.Make(ctx, d.Manager, kindServer, p.region, m.name, func(ctx context.Context) (string, error) {
		s, err := servers.Create(ctx, c, in, servers.SchedulerHintOpts{Group: d.options.ServerGroup}).Extract()
		if err != nil {
			return "", fmt.Errorf("%s: start a server of the flavor %s: %w", p.region, f.Name, judge(err))
		}
		return s.ID, nil
	})
	if err != nil {
		return nil, err
	}
	m.say("%s: started the server %s (%s), a %s, from %s", p.region, m.name, m.id, f.Name, i.ID)
	return m, nil
}

// volumeTypeVersion is Nova's first microversion that takes the type of a server's volume.
// All else is asked for in the first version, which all clouds know.
const volumeTypeVersion = 67

// withVersion returns a client that speaks microversion 2.minor, if the cloud does.
func withVersion(ctx context.Context, c *gophercloud.ServiceClient, minor int) (*gophercloud.ServiceClient, error) {
	var answer struct {
		Version struct{ Version string }
	}
	resp, err := c.Get(ctx, c.ServiceURL(""), &answer, nil)
	if _, _, err = gophercloud.ParseResponse(resp, err); err != nil {
		return nil, fmt.Errorf("ask for the versions of Nova: %w", explain(err))
	}
	has := 0
	if _, err := fmt.Sscanf(answer.Version.Version, "2.%d", &has); err != nil || has < minor {
		return nil, &platforms.OptionError{Err: fmt.Errorf("needs version 2.%d of Nova's API, and the cloud has %s", minor, cmp.Or(answer.Version.Version, "none but 2.1"))}
	}
	speaks := *c
	speaks.Microversion = fmt.Sprintf("2.%d", minor)
	return &speaks, nil
}

// request is the request that starts a server. volume is the one that it starts from, or ""
// where Nova makes it.
func (d *driver) request(m *machine, f *flavors.Flavor, volume string) (servers.CreateOptsBuilder, error) {
	o := &d.options
	in := servers.CreateOpts{
		Name: m.name, ImageRef: m.base.ID, FlavorRef: f.ID, SecurityGroups: m.p.groups, Networks: m.p.networks, AvailabilityZone: o.AvailabilityZone,
		Metadata: d.marks(m.name), UserData: []byte(o.UserData),
	}
	if o.ConfigDrive {
		in.ConfigDrive = &o.ConfigDrive
	}
	if o.Key == keyUserData {
		key, err := d.key()
		if err != nil {
			return nil, err
		}
		in.UserData = []byte(key.CloudConfig())
	}
	if len(in.UserData) == 0 {
		in.UserData = nil
	}
	gib, err := d.volumeGiB(m.base)
	if err != nil {
		return nil, err
	}
	root := servers.BlockDevice{
		BootIndex: 0, DeleteOnTermination: true, DestinationType: servers.DestinationVolume, VolumeSize: gib, VolumeType: o.VolumeType,
		SourceType: servers.SourceImage, UUID: m.base.ID,
	}
	if s := m.base.root(); volume != "" {
		root.SourceType, root.UUID, root.VolumeSize, root.VolumeType = servers.SourceVolume, volume, 0, ""
	} else if s != nil {
		root.SourceType, root.UUID = servers.SourceSnapshot, s.ID
	}
	if gib > 0 {
		in.ImageRef, in.BlockDevice = "", []servers.BlockDevice{root}
	}
	return keypairs.CreateOptsExt{CreateOptsBuilder: in, KeyName: m.p.key}, nil
}

// runTimeout is how long a server may take to run.
const runTimeout = 15 * time.Minute

// waitRunning waits until the server runs and has an address.
func (m *machine) waitRunning(ctx context.Context) error {
	m.logger.Progress("wait for the server to run", 0, 0)
	return m.d.loop(fmt.Sprintf("%s: server %s", m.p.region, m.id), runTimeout, unseenMost).Until(ctx, func(ctx context.Context) (bool, error) {
		s, err := m.d.server(ctx, m.p.region, m.id)
		if err == nil && s == nil {
			err = wait.ErrNotFound
		}
		if err != nil {
			return false, err
		}
		if err := ended(s); err != nil {
			return false, err
		}
		if s.Status != "ACTIVE" {
			return false, nil
		}
		m.address, err = m.addressOf(s)
		return m.address != "", err
	})
}

// ended returns why a server does not run any more, or nil.
func ended(s *servers.Server) error {
	switch s.Status {
	case "ACTIVE", "BUILD", "REBOOT", "HARD_REBOOT", "PASSWORD", "RESIZE", "VERIFY_RESIZE", "MIGRATING", "UNKNOWN", "REBUILD":
		return nil
	}
	why := s.Fault.Message
	if s.Fault.Code != 0 && s.Fault.Code != 500 {
		why = fmt.Sprintf("%d %s", s.Fault.Code, why)
	}
	if strings.Contains(why, "No valid host") {
		why += " (the cloud has no room for the flavor, or not in this availability_zone; or the flavor needs what no host has)"
	}
	return fmt.Errorf("the server is in the state %s: %s", s.Status, cmp.Or(why, "no reason is given"))
}

// addressOf returns the address of a server in its first network, or "".
func (m *machine) addressOf(s *servers.Server) (string, error) {
	text, err := json.Marshal(s.Addresses)
	if err != nil {
		return "", err
	}
	var all map[string][]struct {
		Addr    string
		Version int
		Type    string `json:"OS-EXT-IPS:type"`
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return "", fmt.Errorf("read the addresses: %w", err)
	}
	best, found := 0, ""
	for name, list := range all {
		for _, a := range list {
			score := 1
			if name == m.p.first {
				score += 4
			}
			if a.Version == 4 {
				score += 2
			}
			if want := m.d.options.IPVersion; want != "" && want != "any" && want != fmt.Sprint(a.Version) {
				continue
			}
			if score > best || score == best && a.Addr < found {
				best, found = score, a.Addr
			}
		}
	}
	return found, nil
}
