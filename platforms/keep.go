package platforms

import (
	"context"
	"time"
)

// A Keeper is a Driver that keeps the layers of its steps on the platform, where
// others find them, and not in the store. Such a layer holds all of the layers
// below it: Boot and Disk use the last one of a chain alone. The first layer of a
// chain is in the store as on other platforms. The driver's machines are Savers.
type Keeper interface {
	// Kept returns the references of those of the layers that the platform has, by
	// their keys.
	Kept(ctx context.Context, keys []string) (refs map[string]string, err error)
}

// A Saver is a Machine that chooses which of its states become layers.
type Saver interface {
	// Save is Commit for a layer that the platform keeps. The reference is "" when
	// the state was not worth a layer.
	Save(ctx context.Context, s State) (ref string, err error)
}

// A State is a state of a machine that could become a layer.
type State struct {
	Key    string // of the layer
	Name   string // of its step, for users
	Needed bool   // something else than the next step in this machine needs the layer
}

// A LayerPublisher is a Publisher that registers its own layers as images, without
// their disks coming to this host.
type LayerPublisher interface {
	// PublishLayer is Publish for a layer of the driver's own.
	PublishLayer(ctx context.Context, p Publication, layer Layer, out Sink) ([]Registered, error)
}

// A Pruner removes layers that the platform keeps.
type Pruner interface {
	// PruneLayers removes the layers that p chooses and that nothing else uses, or
	// returns what would be removed. What it returns beside an error is gone.
	PruneLayers(ctx context.Context, p LayerPruning) ([]KeptLayer, error)
}

// A LayerPruning says which layers are removed: those that were made before one
// time, and those that were last used before another. A time that is zero chooses
// none.
type LayerPruning struct {
	MadeBefore time.Time
	UsedBefore time.Time
	DryRun     bool // remove nothing
}

// A KeptLayer is a layer on a platform.
type KeptLayer struct {
	Ref, Place, Name string
	Size             int64 // bytes of its disk
	Made, Used       time.Time
}
