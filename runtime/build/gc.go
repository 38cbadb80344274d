package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/ledger"
	"bake.build/bake/runtime/plan"
)

// A Collection says what is to be removed of what builds have left on platforms.
type Collection struct {
	Platform string          // only what is on this one, and also what its tags tell of; "" means all
	Options  json.RawMessage // of Platform, as canonical JSON

	// Before is when something was begun at the latest, and TaggedBefore that for
	// what only tags tell of: its build may still run on another host.
	Before, TaggedBefore time.Time

	DryRun bool // remove nothing
}

// A Collected is what became of something that a build has left.
type Collected struct {
	Resource platforms.Resource
	Of       string // whose it is, for users, such as "of build x"
	Left     string // why it was left alone; "" where it was removed, or would be
}

// Collect removes what builds have left on platforms: what the ledger of this host
// tells of dead builds, and, for c.Platform, what tags tell of those of other hosts.
// It tells of each thing, and of each place that could not be looked at.
func (h *Host) Collect(ctx context.Context, c Collection, told func(Collected), unseen func(*platforms.Unseen)) error {
	g := &collector{Host: h, c: c, told: told}
	err := g.ledger(ctx)
	if c.Platform != "" {
		err = errors.Join(err, g.tags(ctx, unseen))
	}
	return err
}

// A collector removes what builds have left.
type collector struct {
	*Host
	c    Collection
	told func(Collected)
}

// driver opens the driver of a resource's platform.
func (g *collector) driver(name string, options json.RawMessage) (platforms.GarbageCollector, error) {
	d, err := g.Driver(&plan.Platform{Name: name, Options: options})
	if err != nil {
		return nil, err
	}
	c, ok := d.(platforms.GarbageCollector)
	if !ok {
		return nil, fmt.Errorf("the platform %s leaves nothing behind outside of this host", name)
	}
	return c, nil
}

// ledger removes what this host's dead builds have left.
func (g *collector) ledger(ctx context.Context) error {
	builds, err := ledger.Dead(g.Store.Dir())
	errs := []error{err}
	for _, b := range builds {
		errs = append(errs, b.Damaged...)
		for _, r := range b.Records {
			if g.c.Platform != "" && r.Platform != g.c.Platform || r.Time.After(g.c.Before) {
				continue
			}
			forget, err := g.record(ctx, r)
			if err == nil && forget {
				err = b.Forget(r)
			}
			errs = append(errs, err)
		}
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// record removes what a record is of. forget says that it has not to be looked for
// any more.
func (g *collector) record(ctx context.Context, r ledger.Record) (forget bool, err error) {
	c, err := g.driver(r.Platform, r.Options)
	if err != nil {
		return false, err
	}
	account, err := c.Account(ctx)
	if err != nil {
		return false, err
	}
	of := "of build " + r.Build
	if r.Account != "" && r.Account != account {
		why := fmt.Sprintf("it is in the account %s, and these credentials are those of %s", r.Account, account)
		g.told(Collected{r.Resource, of, why})
		return false, nil
	}
	got, err := g.remove(ctx, c, r.Resource, of)
	switch {
	case err != nil || g.c.DryRun:
		return false, err
	case got.Removed || got.Kept != "":
		return true, nil
	case time.Since(r.Time) < unseenFor:
		why := fmt.Sprintf("it is not there, or not seen yet: it was asked for %s ago; run bake gc once more in a minute", time.Since(r.Time).Round(time.Second))
		g.told(Collected{r.Resource, of, why})
		return false, nil
	}
	return true, nil
}

// unseenFor is how long what a platform has made may not be seen everywhere there.
const unseenFor = time.Minute

// tags removes what is found on the platform by tags alone.
func (g *collector) tags(ctx context.Context, unseen func(*platforms.Unseen)) error {
	c, err := g.driver(g.c.Platform, g.c.Options)
	if err != nil {
		return err
	}
	found, err := c.Orphans(ctx, g.c.TaggedBefore)
	places, err := platforms.SplitUnseen(err)
	errs := []error{err}
	for _, r := range found {
		_, err := g.remove(ctx, c, r, "found by its tags")
		errs = append(errs, err)
	}
	for _, u := range places {
		unseen(u)
	}
	return errors.Join(errs...)
}

func (g *collector) remove(ctx context.Context, c platforms.GarbageCollector, r platforms.Resource, of string) (platforms.Collected, error) {
	if g.c.DryRun {
		g.told(Collected{Resource: r, Of: of})
		return platforms.Collected{}, nil
	}
	got, err := c.Collect(ctx, r)
	switch {
	case err != nil:
		return got, fmt.Errorf("remove %s: %w", ResourceName(r), err)
	case got.Kept != "":
		g.told(Collected{r, of, got.Kept})
	case got.Removed:
		g.told(Collected{Resource: r, Of: of})
	}
	return got, nil
}

// ResourceName names a resource to users.
func ResourceName(r platforms.Resource) string {
	name := fmt.Sprintf("%s %s %s", r.Platform, r.Kind, r.ID)
	if r.Place != "" {
		name += " in " + r.Place
	}
	return name
}
