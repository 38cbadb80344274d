package build

import (
	"context"
	"errors"
	"fmt"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/layers"
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
	n, key, err := b.leftLayer(ctx, address)
	if err != nil {
		return nil, err
	}
	if n == nil {
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
	return b.layerOf(ctx, n, key)
}

// layerOf returns the layer of n that is in the store or on its platform.
func (b *Build) layerOf(ctx context.Context, n *plan.Node, key plan.Key) (*Layer, error) {
	d, err := b.Driver(n.Platform)
	if err != nil {
		return nil, err
	}
	chain, err := b.layers().Chain(ctx, n.Platform, key)
	if err != nil {
		return nil, err
	}
	return &Layer{Node: n, Key: key, driver: d, chain: chain}, nil
}

// Boot opens a machine on the layer.
func (l *Layer) Boot(ctx context.Context, out platforms.Logger) (platforms.Machine, error) {
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

// layers returns where layers are found and kept.
func (b *Build) layers() *layers.Source { return &layers.Source{Store: b.Store, Drivers: b.Driver} }

// leftLayer finds a layer that a failed step left, which is no node of the plan, by
// its key. It returns a node of its platform, or nil where there is none.
func (b *Build) leftLayer(ctx context.Context, address string) (*plan.Node, plan.Key, error) {
	key, err := plan.ParseKey(address)
	if err != nil {
		return nil, key, nil // not a whole key
	}
	asked := map[string]bool{}
	for _, n := range b.Definition.Plan.Nodes {
		if n.Platform == nil || asked[n.Platform.ID()] {
			continue
		}
		asked[n.Platform.ID()] = true
		_, err := b.layers().Chain(ctx, n.Platform, key)
		if err == nil {
			return n, key, nil
		} else if !errors.Is(err, store.ErrMissing) {
			return nil, key, err
		}
	}
	return nil, key, nil
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
