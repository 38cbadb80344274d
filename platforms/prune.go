package platforms

import (
	"context"
	"time"
)

// A Pruner removes layers that the platform keeps.
type Pruner interface {
	// PruneLayers removes the layers that p chooses and that nothing else uses, or
	// returns what would be removed. What it returns beside an error is gone.
	PruneLayers(ctx context.Context, p LayerPruning) ([]RemoteLayer, error)
}

// A LayerPruning says which layers are removed: those that were made before one
// time, and those that were last used before another. A time that is zero chooses
// none.
type LayerPruning struct {
	MadeBefore time.Time
	UsedBefore time.Time
	DryRun     bool // remove nothing
}

// A RemoteLayer is a layer that a platform keeps.
type RemoteLayer struct {
	Ref, Place, Name string
	Size             int64 // bytes of its disk
	Made, Used       time.Time
}
