package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/ledger"
	"bake.build/bake/runtime/store"
)

// tagAge is how old something has to be that only its tags name before gc takes
// it for a leftover, when --older-than does not say. The build may still run, on
// another host.
const tagAge = 24 * time.Hour

// gcFlags are the flags of bake gc.
type gcFlags struct {
	platform string
	options  []string
	age      string
	dryRun   bool
}

func (a *app) gcCommand() *cobra.Command {
	f := &gcFlags{}
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "remove what dead builds left on platforms",
		Long: `Removes the snapshots, images and other things on platforms that builds of this
host had begun when they died, as the ledger tells. With --platform it also
removes what builds of other hosts have left there, which it finds by their tags.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.gc(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.platform, "platform", "", "only what is on this `platform`, and all that its tags tell of")
	flags.StringArrayVar(&f.options, "option", nil, "an option of the platform, as `name=value`, such as region=eu-west-1")
	flags.StringVar(&f.age, "older-than", "", "leave alone what is younger than a `time` such as 48h (default: 24h for what only tags tell of)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be removed")
	return cmd
}

func (a *app) gc(ctx context.Context, f *gcFlags) error {
	age := time.Duration(0)
	if f.age != "" {
		var err error
		if age, err = platforms.ParseDuration(f.age); err != nil {
			return coded(exitUsage, fmt.Errorf("--older-than: %w", err))
		}
	}
	if f.platform == "" && len(f.options) > 0 {
		return coded(exitUsage, errors.New("--option belongs to --platform"))
	}
	var options json.RawMessage
	if f.platform != "" {
		var err error
		if _, options, err = a.platformOptions(f.platform, f.options); err != nil {
			return err
		}
	}
	return a.withStore(func(s *store.Store) error {
		g := &collector{app: a, f: f, host: s.Host(nil, nil), before: time.Now().Add(-age)}
		err := g.ledger(ctx, s.Dir())
		if f.platform != "" {
			if f.age == "" {
				g.before = time.Now().Add(-tagAge)
			}
			err = errors.Join(err, g.tags(ctx, options))
		}
		if err == nil && g.removed == 0 {
			fmt.Fprintln(a.stdout, "nothing is left behind")
		}
		return err
	})
}

// platformOptions returns a platform with the options that flags give it.
func (a *app) platformOptions(name string, given []string) (platforms.Spec, json.RawMessage, error) {
	spec := a.spec(name)
	if spec.Name == "" {
		var names []string
		for _, s := range a.specs {
			names = append(names, s.Name)
		}
		return spec, nil, coded(exitUsage, fmt.Errorf("--platform: no platform is called %q%s", name, spell.Hint(name, "platforms", names)))
	}
	options, err := textOptions(spec.Options, given)
	if err != nil {
		return spec, nil, coded(exitUsage, fmt.Errorf("--option: %w", err))
	}
	return spec, options, nil
}

// A collector removes what builds have left.
type collector struct {
	*app
	f       *gcFlags
	host    platforms.Host
	before  time.Time
	removed int
}

// driver opens the driver of a resource's platform.
func (g *collector) driver(name string, options json.RawMessage) (platforms.Collector, error) {
	spec := g.spec(name)
	if spec.New == nil {
		return nil, fmt.Errorf("no platform is called %q", name)
	}
	d, err := spec.New(options, g.host)
	if err != nil {
		return nil, err
	}
	c, ok := d.(platforms.Collector)
	if !ok {
		return nil, fmt.Errorf("the platform %s leaves nothing behind outside of this host", name)
	}
	return c, nil
}

// ledger removes what this host's dead builds have left.
func (g *collector) ledger(ctx context.Context, dir string) error {
	builds, err := ledger.Dead(dir)
	errs := []error{err}
	for _, b := range builds {
		errs = append(errs, b.Damaged...)
		for _, r := range b.Records {
			if g.f.platform != "" && r.Platform != g.f.platform || r.Time.After(g.before) {
				continue
			}
			c, err := g.driver(r.Platform, json.RawMessage(r.Data["options"]))
			if err == nil {
				err = g.remove(ctx, c, r.Resource, "of build "+b.ID)
			}
			if err == nil && !g.f.dryRun {
				err = b.Forget(r)
			}
			errs = append(errs, err)
		}
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// tags removes what is found on the platform by tags alone.
func (g *collector) tags(ctx context.Context, options json.RawMessage) error {
	c, err := g.driver(g.f.platform, options)
	if err != nil {
		return err
	}
	found, err := c.Leftovers(ctx, g.before)
	errs := []error{err}
	for _, r := range found {
		errs = append(errs, g.remove(ctx, c, r, "found by its tags"))
	}
	return errors.Join(errs...)
}

func (g *collector) remove(ctx context.Context, c platforms.Collector, r platforms.Resource, why string) error {
	name := fmt.Sprintf("%s %s %s", r.Platform, r.Kind, r.ID)
	if at := r.Data["region"]; at != "" {
		name += " in " + at
	}
	g.removed++
	if g.f.dryRun {
		fmt.Fprintf(g.stdout, "would remove %s, %s\n", name, why)
		return nil
	}
	if err := c.Collect(ctx, r); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	fmt.Fprintf(g.stdout, "removed %s, %s\n", name, why)
	return nil
}
