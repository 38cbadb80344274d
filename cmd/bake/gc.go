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
removes what builds of other hosts have left there, which it finds by their tags.
What cannot be seen, such as that of another account, is left alone, and told.`,
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
		g := &collector{app: a, f: f, host: s.Host(store.Lent{Ask: a.ask(nil)}), before: time.Now().Add(-age)}
		err := g.ledger(ctx, s.Dir())
		if f.platform != "" {
			if f.age == "" {
				g.before = time.Now().Add(-tagAge)
			}
			err = errors.Join(err, g.tags(ctx, options))
		}
		if err == nil && g.told == 0 {
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
	f      *gcFlags
	host   platforms.Host
	before time.Time
	told   int // of what was removed, or left alone
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
	c, err := g.driver(r.Platform, json.RawMessage(r.Data["options"]))
	if err != nil {
		return false, err
	}
	account, err := c.Account(ctx)
	if err != nil {
		return false, err
	}
	of := "of build " + r.Build
	if r.Account != "" && r.Account != account {
		g.leave(r.Resource, of, fmt.Sprintf("it is in the account %s, and these credentials are those of %s", r.Account, account))
		return false, nil
	}
	got, err := g.remove(ctx, c, r.Resource, of)
	switch {
	case err != nil || g.f.dryRun:
		return false, err
	case got.Removed || got.Kept != "":
		return true, nil
	case time.Since(r.Time) < unseenFor:
		g.leave(r.Resource, of, fmt.Sprintf("it is not there, or not seen yet: it was asked for %s ago; run bake gc once more in a minute", time.Since(r.Time).Round(time.Second)))
		return false, nil
	}
	return true, nil
}

// unseenFor is how long what a platform has made may not be seen everywhere there.
const unseenFor = time.Minute

// tags removes what is found on the platform by tags alone.
func (g *collector) tags(ctx context.Context, options json.RawMessage) error {
	c, err := g.driver(g.f.platform, options)
	if err != nil {
		return err
	}
	found, err := c.Leftovers(ctx, g.before)
	unseen, err := platforms.SplitUnseen(err)
	errs := []error{err}
	for _, r := range found {
		_, err := g.remove(ctx, c, r, "found by its tags")
		errs = append(errs, err)
	}
	for _, u := range unseen {
		g.told++
		fmt.Fprintf(g.stdout, "left alone what is in %s: %v\n", u.Place, u.Err)
	}
	return errors.Join(errs...)
}

func resourceName(r platforms.Resource) string {
	name := fmt.Sprintf("%s %s %s", r.Platform, r.Kind, r.ID)
	if at := r.Data["region"]; at != "" {
		name += " in " + at
	}
	return name
}

// leave tells of what is left alone.
func (g *collector) leave(r platforms.Resource, of, why string) {
	g.told++
	fmt.Fprintf(g.stdout, "left alone %s, %s: %s\n", resourceName(r), of, why)
}

func (g *collector) remove(ctx context.Context, c platforms.Collector, r platforms.Resource, of string) (platforms.Collected, error) {
	if g.f.dryRun {
		g.told++
		fmt.Fprintf(g.stdout, "would remove %s, %s\n", resourceName(r), of)
		return platforms.Collected{}, nil
	}
	got, err := c.Collect(ctx, r)
	switch {
	case err != nil:
		return got, fmt.Errorf("remove %s: %w", resourceName(r), err)
	case got.Kept != "":
		g.leave(r, of, got.Kept)
	case got.Removed:
		g.told++
		fmt.Fprintf(g.stdout, "removed %s, %s\n", resourceName(r), of)
	}
	return got, nil
}
