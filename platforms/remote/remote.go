// Package remote keeps layers on a platform, where others find them by their keys: which
// states of a machine are worth a layer, which of two layers of one key counts, when one
// was last used, and which ones go. A platform gives the few methods that differ.
package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// Marks of layers, which a platform keeps as tags or properties.
const (
	Key  = "bake:key"  // of the layer, in hex
	Used = "bake:used" // the time at which it was last used; see Time
)

// Time is how marks tell a time.
const Time = time.RFC3339

// A Layer is one that the platform has, or is making.
type Layer struct {
	platforms.Layer
	Place, Name string
	Size        int64 // bytes of its disk
	Made, Used  time.Time
}

// ErrInUse is part of the error of removing a layer that an image or a machine is made
// of.
var ErrInUse = errors.New("it is in use")

// ErrFailed is part of the error of waiting for a layer that the platform could not make.
var ErrFailed = errors.New("it could not be completed")

// Layers are the layers of a platform: the methods that differ.
type Layers interface {
	// Find returns the layers in a place that have the keys, complete or being made,
	// whoever has made them.
	Find(ctx context.Context, place string, keys []string) ([]Layer, error)

	// Unused returns the layers of a project in a place, or of all projects for "", that
	// nothing is made of.
	Unused(ctx context.Context, place, project string) ([]Layer, error)

	// Delete removes a layer. One that is not there is no error.
	Delete(ctx context.Context, l Layer) error

	// Touch marks a layer as used at a time.
	Touch(ctx context.Context, l Layer, at time.Time) error
}

// A Policy says which states of a machine become layers.
type Policy string

// Policies. A layer that something else needs is always made.
const (
	WhereWorth Policy = ""           // where the work since the last layer took longer than making one
	EveryStep  Policy = "every-step" // all
	WhereUsed  Policy = "last"       // none but those that something else needs
)

// A Cache is what a driver knows of its layers, and is the driver's
// platforms.RemoteLayers and platforms.Pruner. It is safe for concurrent use.
type Cache struct {
	Layers     Layers
	Places     resource.Places
	Home       func(ctx context.Context) (place string, err error) // where machines run; nil where there is one place
	KeysAtOnce int                                                 // how many keys a request may name
	FirstCost  time.Duration                                       // what making a layer is held to take before one was made

	mu   sync.Mutex
	cost time.Duration
	made map[string]bool
}

var (
	_ platforms.RemoteLayers = (*Cache)(nil)
	_ platforms.Pruner       = (*Cache)(nil)
)

// FindLayers implements platforms.RemoteLayers: layers are found by their marks, whoever of
// the account has made them. Where two builds have made one at once, the first counts, so
// that all builds go on from the same.
func (c *Cache) FindLayers(ctx context.Context, keys []string) (map[string]platforms.Layer, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	place := ""
	if c.Home != nil {
		var err error
		if place, err = c.Home(ctx); err != nil {
			return nil, err
		}
	}
	first := map[string]Layer{}
	for chunk := range slices.Chunk(keys, max(1, c.KeysAtOnce)) {
		list, err := c.Layers.Find(ctx, place, chunk)
		if err != nil {
			return nil, err
		}
		for _, l := range list {
			have, ok := first[l.Key]
			if l.Key != "" && (!ok || cmp.Or(l.Made.Compare(have.Made), cmp.Compare(l.Ref, have.Ref)) < 0) {
				first[l.Key] = l
			}
		}
	}
	found := map[string]platforms.Layer{}
	for key, l := range first {
		found[key] = l.Layer
	}
	return found, nil
}

// Worth reports whether a state is worth a layer, since being when the work began that no
// layer has.
func (c *Cache) Worth(p Policy, needed bool, since time.Time) bool {
	if needed || p == EveryStep {
		return true
	}
	return p == WhereWorth && time.Since(since) > c.Cost()
}

// Cost is how long making the last layer took.
func (c *Cache) Cost() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cmp.Or(c.cost, c.FirstCost)
}

// Took notes how long making a layer took.
func (c *Cache) Took(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cost = d
}

// Began notes that this process has begun a layer, which may not be known everywhere at
// once.
func (c *Cache) Began(ref string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made == nil {
		c.made = map[string]bool{}
	}
	c.made[ref] = true
}

// Unseen is how often a layer may be not found before it counts as gone: most for one
// that this process has begun, and never for one that the platform has told of.
func (c *Cache) Unseen(ref string, most int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made[ref] {
		return most
	}
	return 0
}

// Await waits for a layer that a machine is to start from. wait does so, and takes a
// layer as gone after it was not found more often than unseen; most is that for one which
// this process has begun. One that has failed is removed by remove, so that the next
// build makes it.
func (c *Cache) Await(ctx context.Context, ref string, most int, await func(ctx context.Context, unseen int) error, remove func(ctx context.Context) error) error {
	err := await(ctx, c.Unseen(ref, most))
	switch {
	case errors.Is(err, ErrFailed):
		return errors.Join(fmt.Errorf("%w: build again", err), remove(ctx))
	case errors.Is(err, wait.ErrGone):
		return fmt.Errorf("%w: build again", err)
	}
	return err
}

// usedEvery is how often the use of a layer is noted, so that a busy one is not marked by
// every build.
const usedEvery = 24 * time.Hour

// Use notes that a layer is used, for who removes those that are not.
func (c *Cache) Use(ctx context.Context, l Layer) error {
	if time.Since(l.Used) < usedEvery {
		return nil
	}
	return c.Layers.Touch(ctx, l, time.Now())
}

// Prune removes the layers in a place that p chooses and returns them: what it returns
// beside an error is gone. One that something was made of meanwhile stays.
func (c *Cache) Prune(ctx context.Context, place, project string, p platforms.LayerPruning) ([]platforms.RemoteLayer, error) {
	list, err := c.Layers.Unused(ctx, place, project)
	if err != nil {
		return nil, err
	}
	var pruned []platforms.RemoteLayer
	var errs []error
	for _, l := range list {
		if l.Used.IsZero() {
			l.Used = l.Made
		}
		if !l.Made.Before(p.MadeBefore) && !l.Used.Before(p.UsedBefore) {
			continue
		}
		if !p.DryRun {
			if err := c.Layers.Delete(ctx, l); errors.Is(err, ErrInUse) {
				continue
			} else if err != nil {
				errs = append(errs, err)
				continue
			}
		}
		pruned = append(pruned, platforms.RemoteLayer{Ref: l.Ref, Place: l.Place, Name: l.Name, Size: l.Size, Made: l.Made, Used: l.Used})
	}
	slices.SortFunc(pruned, Compare)
	return pruned, errors.Join(errs...)
}

// PruneLayers implements platforms.Pruner: it is Prune for all projects in all places.
func (c *Cache) PruneLayers(ctx context.Context, p platforms.LayerPruning) ([]platforms.RemoteLayer, error) {
	pruned, err := resource.Everywhere(ctx, c.Places, func(ctx context.Context, place string) ([]platforms.RemoteLayer, error) {
		return c.Prune(ctx, place, "", p)
	})
	slices.SortFunc(pruned, Compare)
	return pruned, err
}

// Compare orders layers by their place, their age and their reference.
func Compare(a, b platforms.RemoteLayer) int {
	return cmp.Or(cmp.Compare(a.Place, b.Place), a.Made.Compare(b.Made), cmp.Compare(a.Ref, b.Ref))
}
