package vsphere

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/ssh"
)

// Spec declares the platform.
func Spec() platforms.Spec {
	spec := platforms.Declare[Options, Origin](Name,
		"Virtual machines of VMware vCenter, whose layers are snapshots there, and templates. A layer of another platform is registered without a machine: its disk is uploaded while it is compressed.",
		func(o Options, h platforms.Host) (platforms.Driver, error) { return open(o, h) })
	spec.Boots = true
	platforms.DeclarePublication[Publication](&spec, platforms.DiskUse{Format: "raw", Hypervisor: "VMware"})
	return spec
}

// A driver works with one datacenter of one server.
type driver struct {
	*resource.Manager
	*remote.Cache

	host       platforms.Host
	options    Options
	connection *connection
	key        func() (*ssh.Key, error)
	pause      time.Duration // before the server is asked for a second time how something goes

	placeMu sync.Mutex
	at      site   // without a name before the first use
	where   *place // nil before the first use

	mu       sync.Mutex
	launched bool
}

var (
	_ platforms.Driver           = (*driver)(nil)
	_ platforms.RemoteImporter   = (*driver)(nil)
	_ platforms.Launcher         = (*driver)(nil)
	_ platforms.Describer        = (*driver)(nil)
	_ platforms.PinNamer         = (*driver)(nil)
	_ platforms.Limiter          = (*driver)(nil)
	_ platforms.Sizer            = (*driver)(nil)
	_ platforms.Publisher        = (*driver)(nil)
	_ platforms.GarbageCollector = (*driver)(nil)
	_ platforms.FurtherDisker    = (*driver)(nil)
	_ platforms.Puller           = (*driver)(nil)
	_ platforms.Pruner           = (*driver)(nil)
	_ platforms.Closer           = (*driver)(nil)
)

// firstPause is the shortest time after which the server is asked again how something
// goes.
const firstPause = 250 * time.Millisecond

// firstCost is what a snapshot is held to cost before one was made.
const firstCost = 10 * time.Second

func open(o Options, h platforms.Host) (*driver, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	d := &driver{host: h, options: o, key: sync.OnceValues(ssh.NewKey), pause: firstPause}
	d.connection = &connection{options: &d.options, pause: d.pause, secret: h.Secret}
	d.Manager = &resource.Manager{
		Platform: Name, Options: text, Ledger: h.Ledger(), Pause: func() time.Duration { return d.pause },
		Identify: d.server, Tagged: d.tagged,
		Kinds: []resource.Kind{{Name: kindItem, Remove: d.collectItem}, {Name: kindMachine, Remove: d.collectMachine}, {Name: kindFile, Remove: d.collectFile}, {Name: kindUpload, Remove: d.collectImage}, {Name: kindImage, Remove: d.collectImage}},
	}
	d.Cache = &remote.Cache{Layers: layers{d}, KeysAtOnce: keysAtOnce, FirstCost: firstCost}
	return d, nil
}

func (d *driver) vim(ctx context.Context) (*vim25.Client, error) { return d.connection.vim(ctx) }

// server returns the identity of the server, which stays when its address changes.
func (d *driver) server(ctx context.Context) (string, error) {
	c, err := d.vim(ctx)
	if err != nil {
		return "", err
	}
	if id := c.ServiceContent.About.InstanceUuid; id != "" {
		return id, nil
	}
	return c.URL().Host, nil // a host alone has none
}

// Fingerprint implements platforms.Driver. User data and customization specifications
// change machines from within; where they run changes nothing.
func (d *driver) Fingerprint() string {
	text := "vsphere/1"
	if d.options.UserData != "" {
		text += fmt.Sprintf(" user data %x", sha256.Sum256([]byte(d.options.UserData)))
	}
	if d.options.Customization != "" {
		text += " customization " + d.options.Customization
	}
	return text
}

// MaxMachines implements platforms.Limiter.
func (d *driver) MaxMachines() int { return cmp.Or(d.options.MaxMachines, defaultMachines) }

// MachineSize implements platforms.Sizer: machines take nothing of this host.
func (d *driver) MachineSize() platforms.Resources { return platforms.Resources{} }

// closeTimeout is how long the end of a machine may take.
const closeTimeout = 15 * time.Minute

// Close implements platforms.Closer: layers that nobody uses go, and the session ends.
func (d *driver) Close() error {
	d.mu.Lock()
	launched := d.launched
	d.mu.Unlock()
	var err error
	if launched {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err = d.options.Expire(ctx, d.Cache, "", d.host.Ledger())
	}
	return errors.Join(err, d.connection.Close())
}

func newToken() string { return strings.ToLower(rand.Text())[:16] }

func now() string { return time.Now().UTC().Format(remote.Time) }
