package build

import (
	"context"
	"errors"
	"fmt"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store"
)

// A Layer is a layer that is there.
type Layer struct {
	Node *plan.Node // whose layer it is, or, of one that a failed step left, of its platform
	Key  plan.Key   // of its result in this run

	driver platforms.Driver
	chain  []platforms.Layer
}

// Layer finds the layer that address names, or that the artifact or test that it
// names was made of, and builds it when it is missing; see Find. The key of a layer
// that a failed step has left is an address, too.
func (b *Build) Layer(ctx context.Context, address string, o Options) (*Layer, error) {
	if err := b.CheckRights(); err != nil {
		return nil, err
	}
	n, key, ok := b.leftLayer(address)
	if !ok {
		var err error
		if n, err = Find(b.Definition, address); err != nil {
			return nil, err
		}
		if n, err = layerOf(n); err != nil {
			return nil, err
		}
		if key, err = b.makeLayer(ctx, n, o); err != nil {
			return nil, err
		}
	}
	d, err := b.Driver(n.Platform)
	if err != nil {
		return nil, err
	}
	chain, err := b.chain(ctx, d, n, key)
	if err != nil {
		return nil, err
	}
	return &Layer{Node: n, Key: key, driver: d, chain: chain}, nil
}

// Boot opens a machine on the layer.
func (l *Layer) Boot(ctx context.Context, out platforms.Sink) (platforms.Machine, error) {
	return l.driver.Boot(ctx, l.chain, out)
}

// Tree calls use with a directory that holds the files of the layer; see
// platforms.Treer.
func (l *Layer) Tree(ctx context.Context, use func(dir string) error) error {
	treer, ok := l.driver.(platforms.Treer)
	if !ok {
		return fmt.Errorf("%s: the platform %s cannot show the files of a layer", l.Node.Name, l.Node.Platform.Name)
	}
	return treer.Tree(ctx, l.chain, use)
}

// leftLayer finds a layer that a failed step left in the store, which is no
// node of the plan, by its key.
func (b *Build) leftLayer(address string) (*plan.Node, plan.Key, bool) {
	key, err := plan.ParseKey(address)
	if err != nil || !b.Store.Has(key) {
		return nil, key, false
	}
	entry, err := b.Store.Get(key)
	if err != nil {
		return nil, key, false
	}
	for _, n := range b.Definition.Plan.Nodes {
		if n.Platform != nil && n.Platform.Name == entry.Platform {
			return n, key, true
		}
	}
	return nil, key, false
}

// makeLayer builds the layer n, without an event when it is there.
func (b *Build) makeLayer(ctx context.Context, n *plan.Node, o Options) (key plan.Key, err error) {
	schedule, err := b.Plan(ctx, []builtins.Target{{Node: n}})
	if err != nil {
		return key, err
	}
	if run, _ := schedule.Count(); run == 0 {
		o.Events = nil
	}
	result, err := b.run(ctx, []*plan.Node{n}, o)
	if err != nil {
		return key, err
	}
	return result.Targets[0].Key, nil
}

// chain returns the layers that a machine on key is opened with. Where the platform
// keeps its layers, that is the one alone.
func (b *Build) chain(ctx context.Context, d platforms.Driver, layer *plan.Node, key plan.Key) ([]platforms.Layer, error) {
	if k, ok := d.(platforms.Keeper); ok {
		if entry, err := b.Store.Get(key); err == nil {
			return []platforms.Layer{entry.Layer()}, nil // an origin, or what a failed step left
		} else if !errors.Is(err, store.ErrMissing) {
			return nil, err
		}
		refs, err := k.Kept(ctx, []string{key.String()})
		if err != nil {
			return nil, err
		}
		ref := refs[key.String()]
		if ref == "" {
			return nil, fmt.Errorf("the layer %s is not there any more", layer.Name)
		}
		return []platforms.Layer{{Key: key.String(), Ref: ref}}, nil
	}
	entries, err := b.Store.Chain(key)
	if err != nil {
		return nil, err
	}
	chain := make([]platforms.Layer, len(entries))
	for i, e := range entries {
		chain[i] = e.Layer()
	}
	return chain, nil
}
