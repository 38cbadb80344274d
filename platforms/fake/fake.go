package fake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"bake.build/bake/platforms"
)

// A Call names a method of the driver or of its machines.
type Call string

// The calls that are counted and can be made to fail.
const (
	Pin    Call = "pin"
	Import Call = "import"
	Boot   Call = "boot"
	Run    Call = "run"
	Write  Call = "write"
	Read   Call = "read"
	Commit Call = "commit"
	Close  Call = "close"
	Tree   Call = "tree"
)

// A Driver is a platforms.Driver without a platform. The zero value is ready.
// Its fields are set before it is used; its methods are safe for concurrent use.
type Driver struct {
	// ID is what Fingerprint returns, "fake" if empty.
	ID string

	// Max is what MaxMachines returns.
	Max int

	// Fault, if not nil, is called at the beginning of each call with the number
	// of that call, from 1 on, and what it is about: a command's arguments, a
	// path, a layer's directory. Its error fails the call. It may block until
	// the context ends, to hold a call.
	Fault func(ctx context.Context, c Call, n int, what string) error

	mu     sync.Mutex
	counts map[Call]int
	open   int
	most   int
	caches map[string]*cache
}

var (
	_ platforms.Driver  = (*Driver)(nil)
	_ platforms.Treer   = (*Driver)(nil)
	_ platforms.Limiter = (*Driver)(nil)
)

// Options are those of the platform's constructor.
type Options struct {
	ID string `bake:"id" json:"id,omitempty" help:"Part of the keys of all layers."`
}

// Origin are the options of source().
type Origin struct {
	Text string `bake:"text,origin" json:"text,omitempty" help:"The content of /origin in the first layer."`
}

// Spec declares a platform of the given name whose only driver is d.
func Spec(name string, d *Driver) platforms.Spec {
	return platforms.Declare[Options, Origin](name, "A platform in memory, for tests.",
		func(o Options, _ platforms.Host) (platforms.Driver, error) {
			if o.ID != "" && o.ID != d.ID {
				return nil, fmt.Errorf("%s: option id: this driver is %q", name, d.ID)
			}
			return d, nil
		})
}

// Count returns how often c was called.
func (d *Driver) Count(c Call) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts[c]
}

// Open returns how many machines are open, and the most that ever were at once.
func (d *Driver) Open() (now, most int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open, d.most
}

func (d *Driver) call(ctx context.Context, c Call, what string) error {
	d.mu.Lock()
	if d.counts == nil {
		d.counts = map[Call]int{}
	}
	d.counts[c]++
	n := d.counts[c]
	d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", c, what, err)
	}
	if d.Fault == nil {
		return nil
	}
	if err := d.Fault(ctx, c, n, what); err != nil {
		return fmt.Errorf("%s %s: %w", c, what, err)
	}
	return nil
}

// Fingerprint implements platforms.Driver.
func (d *Driver) Fingerprint() string {
	if d.ID == "" {
		return "fake"
	}
	return d.ID
}

// MaxMachines implements platforms.Limiter.
func (d *Driver) MaxMachines() int { return d.Max }

// Pin implements platforms.Driver.
func (d *Driver) Pin(ctx context.Context, o platforms.Origin) (platforms.Origin, error) {
	if err := d.call(ctx, Pin, o.Kind); err != nil {
		return o, err
	}
	if o.Pin == nil {
		o.Pin = &platforms.Pin{ID: "fake:" + string(o.Options)}
	}
	return o, nil
}

// Import implements platforms.Driver. The layer is Base with the option text
// in /origin.
func (d *Driver) Import(ctx context.Context, o platforms.Origin, dir string, _ platforms.Logger) (platforms.Made, error) {
	if err := d.call(ctx, Import, o.Kind); err != nil {
		return platforms.Made{}, err
	}
	var options Origin
	if err := o.Decode(&options); err != nil {
		return platforms.Made{}, fmt.Errorf("import: %w", err)
	}
	t := Base()
	t["/origin"] = &Node{Mode: 0o644, Data: []byte(options.Text)}
	return platforms.Made{Ref: "fake"}, t.save(dir)
}

// Boot implements platforms.Driver.
func (d *Driver) Boot(ctx context.Context, chain []platforms.Layer, _ platforms.Logger) (platforms.Machine, error) {
	if len(chain) == 0 {
		return nil, errors.New("boot: the chain has no layers")
	}
	last := chain[len(chain)-1]
	if err := d.call(ctx, Boot, last.Key); err != nil {
		return nil, err
	}
	t, err := load(last.Dir)
	if err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	return d.opened(t), nil
}

// opened returns a new machine on a tree.
func (d *Driver) opened(t Files) *machine {
	m := &machine{driver: d, tree: t}
	m.closed, m.end = context.WithCancel(context.Background())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open++
	d.most = max(d.most, d.open)
	return m
}

// Tree implements platforms.Treer with a copy of the tree.
func (d *Driver) Tree(ctx context.Context, chain []platforms.Layer, use func(dir string) error) error {
	if len(chain) == 0 {
		return errors.New("show tree: the chain has no layers")
	}
	if err := d.call(ctx, Tree, chain[len(chain)-1].Key); err != nil {
		return err
	}
	t, err := load(chain[len(chain)-1].Dir)
	if err != nil {
		return fmt.Errorf("show tree: %w", err)
	}
	return t.show(use)
}

// show calls use with a directory that holds a copy of the tree.
func (t Files) show(use func(dir string) error) (err error) {
	dir, err := os.MkdirTemp("", "fake-tree")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := t.extract(dir); err != nil {
		return err
	}
	return use(dir)
}

const stateName = "tree.json"

func (t Files) save(dir string) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, stateName), b, 0o600)
}

func load(dir string) (Files, error) { return loadFile(filepath.Join(dir, stateName)) }

// Layer fills dir with a layer that holds t.
func Layer(key, dir string, t Files) (platforms.Layer, error) {
	return platforms.Layer{Key: key, Dir: dir, Ref: "fake"}, t.save(dir)
}
