package aws

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/instance"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/ssh"
)

// Spec declares the platform.
func Spec() platforms.Spec {
	spec := platforms.Declare[Options, Origin](Name,
		"Instances of AWS EC2, whose layers are EBS snapshots in the account, and AMIs. A layer of another platform is registered without an instance: its disk is written into a snapshot by the EBS direct APIs.",
		(&logins{}).open)
	spec.Boots = true
	platforms.DeclarePublication[Publication](&spec, platforms.DiskUse{Format: "raw", Hypervisor: "AWS"})
	return spec
}

// A driver works with one account in one region.
type driver struct {
	*resource.Manager
	*remote.Cache

	host    platforms.Host
	options Options
	clients *clients
	logins  *logins
	key     func() (*ssh.Key, error)
	pause   time.Duration // before AWS is asked for a second time how something goes

	site instance.Site[place]

	checkMu sync.Mutex
	checked bool // it was asked what these credentials may do

	mu     sync.Mutex
	others map[string]*driver // of other accounts, by their roles
	copies map[string]chan struct{}
}

var (
	_ platforms.Driver           = (*driver)(nil)
	_ platforms.RemoteLayers     = (*driver)(nil)
	_ platforms.Describer        = (*driver)(nil)
	_ platforms.PinNamer         = (*driver)(nil)
	_ platforms.Limiter          = (*driver)(nil)
	_ platforms.Sizer            = (*driver)(nil)
	_ platforms.Disker           = (*driver)(nil)
	_ platforms.Publisher        = (*driver)(nil)
	_ platforms.GarbageCollector = (*driver)(nil)
	_ platforms.Puller           = (*driver)(nil)
	_ platforms.Pruner           = (*driver)(nil)
	_ platforms.Checker          = (*driver)(nil)
	_ platforms.Closer           = (*driver)(nil)
)

func (l *logins) open(o Options, h platforms.Host) (platforms.Driver, error) {
	return open(o, h, l)
}

func open(o Options, h platforms.Host, l *logins) (*driver, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	d := &driver{
		host: h, options: o, clients: newClients(o, l, h.Ask), logins: l, key: sync.OnceValues(ssh.NewKey),
		pause: firstPause, copies: map[string]chan struct{}{}, others: map[string]*driver{},
	}
	d.Manager = d.manager(text)
	d.Cache = &remote.Cache{Layers: layers{d}, Places: d.places(), Home: d.clients.region, KeysAtOnce: keysAtOnce, FirstCost: firstCost}
	return d, nil
}

// firstPause is the shortest time after which AWS is asked again how something goes.
const firstPause = 250 * time.Millisecond

// Fingerprint implements platforms.Driver. What is said of the root volume holds for
// its layers, and user data runs in instances; the region is in the pin of the origin.
func (d *driver) Fingerprint() string {
	o := &d.options
	text := "aws/1"
	if o.VolumeSize != "" {
		text += " volume " + o.VolumeSize
	}
	if o.Encrypted || o.KMSKey != "" {
		text += " encrypted " + o.KMSKey
	}
	for _, device := range slices.Sorted(maps.Keys(o.Volumes)) {
		text += " volume " + device + " " + o.Volumes[device]
	}
	if o.UserData != "" {
		text += fmt.Sprintf(" user data %x", sha256.Sum256([]byte(o.UserData)))
	}
	return text
}

// MaxMachines implements platforms.Limiter.
func (d *driver) MaxMachines() int {
	if d.options.PrivateIP != "" {
		return 1
	}
	return cmp.Or(d.options.MaxInstances, defaultInstances)
}

// MachineSize implements platforms.Sizer: instances take nothing of this host.
func (d *driver) MachineSize() platforms.Resources { return platforms.Resources{} }

// firstCost is what a snapshot is held to cost before one was made.
const firstCost = 30 * time.Second

// Close implements platforms.Closer: it waits for the end of instances and removes
// what was made for them.
func (d *driver) Close() error {
	return d.site.Close(Name, func(ctx context.Context, p *place, id string) error { return d.waitGone(ctx, p.region, id) },
		func(ctx context.Context, p *place) error { return p.cleanup.Close(ctx) },
		func(ctx context.Context, p *place) error {
			return d.options.Expire(ctx, d.Cache, p.region, d.host.Ledger())
		})
}

// ask records something and sends the request that makes it. Where that fails, what it
// may have made is removed.
func ask[T any](ctx context.Context, d *driver, kind, region, id string, send func(t *tries) (T, error)) (made T, record *resource.Record, err error) {
	return resource.Make(ctx, d.Manager, kind, region, id, func(context.Context) (T, error) {
		var t tries
		made, err := send(&t)
		return made, t.judge(err)
	})
}
