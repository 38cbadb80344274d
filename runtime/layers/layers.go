// Package layers is the one source of layers: those in the store of this host, and
// those that platforms keep and that others find there.
//
// Layers are in the store, unless the driver of their platform is a
// platforms.RemoteLayers: then those of steps are on the platform, and with a
// platforms.RemoteImporter also the first ones of some chains. Whoever asks here need not
// know which.
package layers

import (
	"context"
	"errors"
	"fmt"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store"
)

// A Spec is a layer as a plan knows it, whether there is one or not.
type Spec struct {
	Key      plan.Key
	Kind     string // the op's kind
	Name     string // the step's name
	Platform *plan.Platform
	Parent   plan.Key // of the layer that it is made from; zero for the first of a chain
	Origin   string   // the kind of the origin of the first layer of a chain; "" for others
	Preimage plan.Preimage
}

// A Store is what a Source needs of the layer store; *store.Store is one.
type Store interface {
	Get(ctx context.Context, k plan.Key) (*store.Entry, error)
	Peek(k plan.Key) (*store.Entry, error)
	Chain(ctx context.Context, k plan.Key) ([]*store.Entry, error)
	Lock(ctx context.Context, k plan.Key, waiting func()) (unlock func() error, err error)
	Put(ctx context.Context, meta store.Meta, waiting func(), fill func(dir string) (platforms.Made, error)) (e *store.Entry, filled bool, err error)
}

// A Source finds layers, and keeps new ones. It is safe for concurrent use.
type Source struct {
	Store   Store
	Drivers func(p *plan.Platform) (platforms.Driver, error)
}

// remote returns what keeps the layers of the platform's steps, or nil for the store.
func (s *Source) remote(p *plan.Platform) (platforms.RemoteLayers, error) {
	d, err := s.Drivers(p)
	if err != nil {
		return nil, err
	}
	r, _ := d.(platforms.RemoteLayers)
	return r, nil
}

// keeps reports whether the platform that remote stands for keeps the layer.
func keeps(remote platforms.RemoteLayers, l Spec) bool {
	if remote == nil || !l.Parent.IsZero() {
		return remote != nil
	}
	i, ok := remote.(platforms.RemoteImporter)
	return ok && i.KeepsOrigin(l.Origin)
}

// Find returns those of the layers of the platform p that there are, by their keys. A
// platform is asked once for all. What is in the store is not looked into: see Check.
func (s *Source) Find(ctx context.Context, p *plan.Platform, want []Spec) (map[plan.Key]platforms.Layer, error) {
	remote, err := s.remote(p)
	if err != nil {
		return nil, err
	}
	found := map[plan.Key]platforms.Layer{}
	var there []string
	for _, l := range want {
		if keeps(remote, l) {
			there = append(there, l.Key.String())
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		e, err := s.Store.Peek(l.Key)
		if errors.Is(err, store.ErrMissing) {
			continue
		} else if err != nil {
			return nil, err
		}
		found[l.Key] = e.Layer()
	}
	if len(there) == 0 {
		return found, nil
	}
	kept, err := remote.FindLayers(ctx, there)
	if err != nil {
		return nil, fmt.Errorf("look for layers on %s: %w", p.Name, err)
	}
	for text, l := range kept {
		k, err := plan.ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("look for layers on %s: %w", p.Name, err)
		}
		found[k] = l
	}
	return found, nil
}

// Check returns a layer that Find has found once it is known to be whole. If it is
// not, it is gone, and the error is store.ErrMissing.
func (s *Source) Check(ctx context.Context, l platforms.Layer) (platforms.Layer, error) {
	if l.Remote() {
		return l, nil
	}
	k, err := plan.ParseKey(l.Key)
	if err != nil {
		return l, err
	}
	e, err := s.Store.Get(ctx, k)
	if err != nil {
		return l, err
	}
	return e.Layer(), nil
}

// Make returns the layer l, which fill makes unless another build of this host does so
// meanwhile. waiting, if not nil, is called when that is waited for. fill gets the
// directory that the layer goes to, or "" where the platform keeps it. made says
// whether this call ran fill; the layer is nil when that has dropped it.
func (s *Source) Make(ctx context.Context, l Spec, waiting func(), fill func(dir string) (platforms.Made, error)) (layer *platforms.Layer, made bool, err error) {
	remote, err := s.remote(l.Platform)
	if err != nil {
		return nil, false, err
	}
	if keeps(remote, l) {
		return s.makeRemote(ctx, l, waiting, fill)
	}
	meta := store.Meta{Key: l.Key, Kind: l.Kind, Name: l.Name, Platform: l.Platform.Name, Preimage: l.Preimage}
	if !l.Parent.IsZero() {
		meta.Parent = l.Parent.String()
	}
	e, made, err := s.Store.Put(ctx, meta, waiting, fill)
	if err != nil || e == nil {
		return nil, made, err
	}
	kept := e.Layer()
	return &kept, made, nil
}

// makeRemote is Make for a layer that the platform keeps. The store's lock makes the
// builds of this host take turns.
func (s *Source) makeRemote(ctx context.Context, l Spec, waiting func(), fill func(dir string) (platforms.Made, error)) (layer *platforms.Layer, made bool, err error) {
	waited := false
	unlock, err := s.Store.Lock(ctx, l.Key, func() {
		if waited = true; waiting != nil {
			waiting()
		}
	})
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if waited { // for a build that may have made it
		found, err := s.Find(ctx, l.Platform, []Spec{l})
		if err != nil {
			return nil, false, err
		}
		if there, ok := found[l.Key]; ok {
			return &there, false, nil
		}
	}
	m, err := fill("")
	if err != nil || m.Dropped {
		return nil, true, err
	}
	return &platforms.Layer{Key: l.Key.String(), Ref: m.Ref, Traits: m.Traits}, true, nil
}

// Chain returns the layers that a machine on the layer k of the platform p is opened
// with, from the oldest to the newest. The layer may be one that no plan has, such as
// the state of a failed step. Where there is none, the error is store.ErrMissing.
func (s *Source) Chain(ctx context.Context, p *plan.Platform, k plan.Key) ([]platforms.Layer, error) {
	remote, err := s.remote(p)
	if err != nil {
		return nil, err
	}
	if remote != nil {
		return s.alone(ctx, remote, k)
	}
	entries, err := s.Store.Chain(ctx, k)
	if err != nil {
		return nil, err
	}
	chain := make([]platforms.Layer, len(entries))
	for i, e := range entries {
		if e.Platform != p.Name {
			return nil, fmt.Errorf("layer %s of %s: %w", e.Key.Short(), e.Platform, store.ErrMissing)
		}
		chain[i] = e.Layer()
	}
	return chain, nil
}

// alone is Chain on a platform whose layers hold all that is below them: an origin
// that is in the store, or a remote layer.
func (s *Source) alone(ctx context.Context, remote platforms.RemoteLayers, k plan.Key) ([]platforms.Layer, error) {
	e, err := s.Store.Get(ctx, k)
	if err == nil {
		return []platforms.Layer{e.Layer()}, nil
	} else if !errors.Is(err, store.ErrMissing) {
		return nil, err
	}
	found, err := remote.FindLayers(ctx, []string{k.String()})
	if err != nil {
		return nil, err
	}
	l, ok := found[k.String()]
	if !ok {
		return nil, fmt.Errorf("layer %s: %w", k.Short(), store.ErrMissing)
	}
	return []platforms.Layer{l}, nil
}

// Describe returns what the layer n is, or the one that n is made from: what the driver
// says of its origin. It is for layers that are not there yet, and for those of an
// earlier bake, which did not record it.
func (s *Source) Describe(ctx context.Context, n *plan.Node) (platforms.Traits, error) {
	var traits platforms.Traits
	first := true
	for ; n != nil && traits.Arch == ""; n = firstDep(n) {
		op, ok := n.Op.(plan.Source)
		if !ok || n.Platform == nil {
			continue
		}
		d, err := s.Drivers(n.Platform)
		if err != nil {
			return traits, err
		}
		o := op.Origin()
		o.Pin = n.Pin
		var of platforms.Traits
		if describer, ok := d.(platforms.Describer); ok {
			if of, err = describer.Describe(ctx, o); err != nil {
				return traits, err
			}
		}
		if traits.Arch = of.Arch; first {
			traits.Boot = of.Boot // a copy has the programs of the original, and boots in its own way
		}
		first = false
	}
	return traits, nil
}

func firstDep(n *plan.Node) *plan.Node {
	if len(n.Deps) == 0 {
		return nil
	}
	return n.Deps[0]
}
