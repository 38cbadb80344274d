package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bake.build/bake/platforms"
)

// Options are the options that say which layers a platform keeps, and for how long.
// Drivers embed them in theirs.
type Options struct {
	LayersKeep string `bake:"layers_keep,duration" json:"layers_keep,omitempty" help:"Layers of this project that no build has used for so long, such as 720h, are removed when instances of a build have ended." default:"for ever"`
	Checkpoint string `bake:"checkpoint" json:"checkpoint,omitempty" help:"Which steps leave a layer that later builds start from: every-step, long-steps (where the work since the last layer took longer than a snapshot does), or last (only layers that something else is made of)." default:"long-steps" choices:"every-step|long-steps|last"`
}

// Policy returns what Checkpoint says.
func (o Options) Policy() Policy {
	if o.Checkpoint == "long-steps" {
		return WhereWorth
	}
	return Policy(o.Checkpoint)
}

// Check says what is wrong with the options in themselves.
func (o Options) Check() error {
	_, err := o.keep()
	return err
}

func (o Options) keep() (time.Duration, error) {
	if o.LayersKeep == "" {
		return 0, nil
	}
	d, err := platforms.ParseDuration(o.LayersKeep)
	if err != nil {
		return 0, fmt.Errorf("layers_keep: %w", err)
	}
	return d, nil
}

// CheckProject says what is wrong with the options for a project of the identity, which
// may be "".
func (o Options) CheckProject(project string) error {
	if o.LayersKeep != "" && project == "" {
		return errors.New("layers_keep: this project has no name, which its layers are told from those of others by: write one into the file BAKE_ROOT, or set BAKE_PROJECT")
	}
	return nil
}

// Expire removes those layers of the build's project in a place that were not used for as
// long as LayersKeep says. The ledger is nil where nothing was built.
func (o Options) Expire(ctx context.Context, c *Cache, place string, of platforms.Ledger) error {
	keep, err := o.keep()
	if err != nil || keep == 0 || of == nil || of.Project() == "" {
		return err
	}
	_, err = c.Prune(ctx, place, of.Project(), platforms.LayerPruning{UsedBefore: time.Now().Add(-keep)})
	return err
}
