package openstack

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/instance"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/ssh"
	"bake.build/bake/platforms/wait"
)

// Spec declares the platform.
func Spec() platforms.Spec {
	spec := platforms.Declare[Options, Origin](Name,
		"Servers of OpenStack, whose layers are images or snapshots of volumes there, and images of Glance. A layer of another platform is registered without a server: its disk is uploaded.",
		func(o Options, h platforms.Host) (platforms.Driver, error) { return open(o, h) })
	spec.Boots = true
	platforms.DeclarePublication[Publication](&spec, platforms.DiskUse{Format: "qcow2", Hypervisor: "QEMU/KVM"})
	return spec
}

// A driver works with one project of one cloud.
type driver struct {
	*resource.Manager
	*remote.Cache

	host    platforms.Host
	options Options
	clients *clients
	key     func() (*ssh.Key, error)
	pause   time.Duration // before the cloud is asked for a second time how something goes

	site instance.Site[place]
}

var (
	_ platforms.Driver           = (*driver)(nil)
	_ platforms.RemoteLayers     = (*driver)(nil)
	_ platforms.Describer        = (*driver)(nil)
	_ platforms.PinNamer         = (*driver)(nil)
	_ platforms.Limiter          = (*driver)(nil)
	_ platforms.Sizer            = (*driver)(nil)
	_ platforms.Publisher        = (*driver)(nil)
	_ platforms.FormatTaker      = (*driver)(nil)
	_ platforms.GarbageCollector = (*driver)(nil)
	_ platforms.Disker           = (*driver)(nil)
	_ platforms.Puller           = (*driver)(nil)
	_ platforms.Pruner           = (*driver)(nil)
	_ platforms.Closer           = (*driver)(nil)
)

// firstPause is the shortest time after which the cloud is asked again how something goes.
const firstPause = 500 * time.Millisecond

// firstCost is what a layer is held to cost before one was made.
const firstCost = 30 * time.Second

func open(o Options, h platforms.Host) (*driver, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	d := &driver{host: h, options: o, key: sync.OnceValues(ssh.NewKey), pause: firstPause}
	d.clients = &clients{options: &d.options, secret: h.Secret, pause: d.pause}
	d.Manager = &resource.Manager{
		Platform: Name, Options: text, Ledger: h.Ledger(), Pause: func() time.Duration { return d.pause },
		Identify: d.clients.project, Tagged: d.tagged, Places: d.places(),
		Kinds: []resource.Kind{
			{Name: kindServer, Remove: d.collectServer},
			{Name: kindImage, Remove: d.collectImage},
			{Name: kindLayer, Remove: d.collectLayer},
			{Name: kindVolume, Remove: d.collectVolume},
			{Name: kindAddress, Remove: d.collectAddress},
			{Name: kindKeyPair, Remove: d.collectKeyPair},
			{Name: kindGroup, Remove: d.collectGroup},
		},
	}
	d.Cache = &remote.Cache{Layers: layers{d}, Places: d.places(), Home: d.clients.home, KeysAtOnce: keysAtOnce, FirstCost: firstCost}
	return d, nil
}

// places are the regions of the catalog.
func (d *driver) places() resource.Places {
	return resource.Places{AtOnce: maxRegions, Denied: denied, List: func(ctx context.Context) (string, []string, error) {
		s, err := d.clients.login(ctx)
		if err != nil {
			return "", nil, err
		}
		return s.region, s.regions, nil
	}}
}

// Fingerprint implements platforms.Driver. User data changes servers from within; where
// they run changes nothing.
func (d *driver) Fingerprint() string {
	if d.options.UserData == "" {
		return "openstack/1"
	}
	return fmt.Sprintf("openstack/1 user data %x", sha256.Sum256([]byte(d.options.UserData)))
}

// MaxMachines implements platforms.Limiter.
func (d *driver) MaxMachines() int { return d.options.maxServers() }

// MachineSize implements platforms.Sizer: servers take nothing of this host.
func (d *driver) MachineSize() platforms.Resources { return platforms.Resources{} }

// loop is how the cloud is waited for.
func (d *driver) loop(what string, timeout time.Duration, unseen int) wait.Loop {
	return wait.Loop{What: what, Timeout: timeout, Backoff: wait.Backoff{Next: d.pause, Most: 10 * d.pause}, Unseen: unseen}
}

// marks are those of what is made for a build.
func (d *driver) marks(token string) map[string]string {
	marks := maps.Clone(d.options.Metadata)
	if marks == nil {
		marks = map[string]string{}
	}
	maps.Copy(marks, map[string]string{publish.Build: d.host.Ledger().Build(), markToken: token, markBegun: now()})
	if p := d.host.Ledger().Project(); p != "" {
		marks[publish.Project] = p
	}
	return marks
}

// Marks of servers and layers beside those of packages publish and remote.
const (
	markToken = "bake:token"
	markBegun = "bake:begun"
	markStep  = "bake:step" // the step that a layer is of
	markUser  = "bake:user" // who logs in to servers of the chain
)

// Close implements platforms.Closer: it waits for the end of servers and removes what was
// made for them.
func (d *driver) Close() error {
	return d.site.Close(Name, func(ctx context.Context, p *place, id string) error { return d.waitGone(ctx, p.region, id) },
		func(ctx context.Context, p *place) error { return p.cleanup.Close(ctx) },
		func(ctx context.Context, p *place) error {
			return d.options.Expire(ctx, d.Cache, p.region, d.host.Ledger())
		})
}

func newToken() string { return strings.ToLower(rand.Text())[:20] }

func now() string { return time.Now().UTC().Format(remote.Time) }
