package lock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// ErrLocked says that a locked build needs a pin that bake.lock does not have
// or that can no longer be had.
var ErrLocked = errors.New("bake.lock would have to change")

// A Resolver gives the sources of a plan their pins.
type Resolver struct {
	File    *File
	Drivers func(*plan.Platform) (platforms.Driver, error)
	Update  bool // resolve every origin again, whatever the file says
	Locked  bool // refuse with ErrLocked rather than change a pin
	Known   bool // Pin asks no driver: what the file does not have has no pin

	// Reach says why a platform may not be asked, or nil. It may be nil.
	Reach func(*plan.Platform) error

	// Changed is told of each pin that was made or changed, with a source that
	// has it; old is nil for a new one.
	Changed func(n *plan.Node, old *platforms.Pin, now platforms.Pin)
}

// Pin sets the pin of every source of p, from the file where it has one, and
// from the driver otherwise. The plan is not sealed by it.
func (r *Resolver) Pin(ctx context.Context, p *plan.Plan) error {
	return r.each(ctx, p.Nodes, func(ctx context.Context, d platforms.Driver, name string, n *plan.Node, o platforms.Origin) (*platforms.Pin, error) {
		if old := r.File.Get(name); old != nil && !r.Update {
			return old, nil
		}
		if r.Known {
			return nil, nil
		}
		return r.ask(ctx, d, name, n, o)
	})
}

// Confirm makes sure that what the pins of nodes name can still be had, for
// sources that are about to be imported. moved says that a pin changed: the
// plan must be sealed again.
func (r *Resolver) Confirm(ctx context.Context, nodes []*plan.Node) (moved bool, err error) {
	before := make(map[*plan.Node]platforms.Pin)
	for _, n := range nodes {
		if n.Pin != nil {
			before[n] = *n.Pin
		}
	}
	err = r.each(ctx, nodes, func(ctx context.Context, d platforms.Driver, name string, n *plan.Node, o platforms.Origin) (*platforms.Pin, error) {
		o.Pin = r.File.Get(name)
		return r.ask(ctx, d, name, n, o)
	})
	for n, old := range before {
		moved = moved || n.Pin == nil || n.Pin.ID != old.ID
	}
	return moved, err
}

// ask resolves the origin of n through its driver and records a change.
func (r *Resolver) ask(ctx context.Context, d platforms.Driver, name string, n *plan.Node, o platforms.Origin) (*platforms.Pin, error) {
	if r.Reach != nil {
		if err := r.Reach(n.Platform); err != nil {
			return nil, err
		}
	}
	pinned, err := d.Pin(ctx, o)
	if err != nil || pinned.Pin == nil {
		return nil, err
	}
	old := r.File.Get(name)
	if old != nil && old.ID == pinned.Pin.ID {
		return pinned.Pin, nil
	}
	if r.Locked {
		what := "it has no pin of this origin"
		if old != nil {
			what = "its pin of this origin no longer holds"
		}
		return nil, fmt.Errorf("%w: %s (bake update renews it)", ErrLocked, what)
	}
	r.File.Set(name, *pinned.Pin)
	if r.Changed != nil {
		r.Changed(n, old, *pinned.Pin)
	}
	return pinned.Pin, nil
}

type resolveFunc func(ctx context.Context, d platforms.Driver, name string, n *plan.Node, o platforms.Origin) (*platforms.Pin, error)

// each calls resolve once per distinct origin among the sources of nodes, in
// parallel, and sets the pins.
func (r *Resolver) each(ctx context.Context, nodes []*plan.Node, resolve resolveFunc) error {
	groups := make(map[string][]*plan.Node)
	drivers := make(map[string]platforms.Driver)
	for _, n := range nodes {
		src, ok := looseSource(n)
		if !ok {
			continue
		}
		d, err := r.Drivers(n.Platform)
		if err != nil {
			return &plan.Error{Pos: n.Platform.Pos, Err: err}
		}
		name := pinName(d, n.Platform.Name, src.Origin())
		groups[name] = append(groups[name], n)
		drivers[name] = d
	}
	var mu sync.Mutex
	pins := make(map[string]*platforms.Pin)
	g, ctx := errgroup.WithContext(ctx)
	for name, group := range groups {
		g.Go(func() error {
			first := group[0]
			pin, err := resolve(ctx, drivers[name], name, first, first.Op.(plan.Source).Origin())
			if err != nil {
				return &plan.Error{Pos: first.Pos, Err: fmt.Errorf("source: %w", err)}
			}
			mu.Lock()
			defer mu.Unlock()
			pins[name] = pin
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for name, group := range groups {
		for _, n := range group {
			n.Pin = pins[name]
		}
	}
	return nil
}

// looseSource returns the source that n is, unless it starts from what another
// node of the plan makes: that does not exist yet, and its key says all.
func looseSource(n *plan.Node) (plan.Source, bool) {
	src, ok := n.Op.(plan.Source)
	if !ok {
		return nil, false
	}
	if l, ok := n.Op.(plan.Linker); ok {
		if _, made := l.Links()[src.Origin().Kind]; made {
			return nil, false
		}
	}
	return src, true
}

// pinName names an origin in the file: by what the driver says that the pin
// depends on, or by the digest of all its options.
func pinName(d platforms.Driver, platform string, o platforms.Origin) string {
	if namer, ok := d.(platforms.PinNamer); ok {
		if name := namer.PinName(o); name != "" {
			return platform + " " + name
		}
	}
	sum := sha256.Sum256(o.Options)
	return platform + " " + o.Kind + " " + hex.EncodeToString(sum[:6])
}
