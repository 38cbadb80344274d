package main

import (
	"context"
	"fmt"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/ui"
)

// pruneOn says which layers of a platform are removed.
type pruneOn struct {
	platform string
	options  []string
	made     time.Duration // ago; 0 chooses none
	used     time.Duration // ago; 0 chooses none
	dryRun   bool
}

// unusedFor is how long a layer on a platform may go unused when nothing else is
// said.
const unusedFor = 30 * 24 * time.Hour

// prunePlatform removes layers that a platform keeps.
func (a *app) prunePlatform(ctx context.Context, p pruneOn) error {
	_, options, err := a.platformOptions(p.platform, p.options)
	if err != nil {
		return err
	}
	if p.made == 0 && p.used == 0 {
		p.used = unusedFor
	}
	what := platforms.LayerPruning{DryRun: p.dryRun}
	if p.made > 0 {
		what.MadeBefore = time.Now().Add(-p.made)
	}
	if p.used > 0 {
		what.UsedBefore = time.Now().Add(-p.used)
	}
	return a.withHost(func(h *build.Host) error {
		d, err := h.Driver(&plan.Platform{Name: p.platform, Options: options})
		if err != nil {
			return err
		}
		pruner, ok := d.(platforms.Pruner)
		if !ok {
			return coded(exitUsage, fmt.Errorf("--platform: the layers of %s are in the store: leave it out", p.platform))
		}
		pruned, err := pruner.PruneLayers(ctx, what)
		unseen, err := platforms.SplitUnseen(err)
		for _, u := range unseen {
			fmt.Fprintf(a.stderr, "left alone what is in %s: %v\n", u.Place, u.Err)
		}
		verb := "removed"
		if p.dryRun {
			verb = "would remove"
		}
		size := int64(0)
		for _, l := range pruned {
			fmt.Fprintf(a.stdout, "%s %s in %s  %s\n", verb, l.Ref, l.Place, l.Name)
			size += l.Size
		}
		if err != nil && len(pruned) == 0 {
			return err
		}
		fmt.Fprintf(a.stdout, "%s %d layers, of disks of %s\n", verb, len(pruned), ui.Size(size))
		return err
	})
}
