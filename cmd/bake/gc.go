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
	"bake.build/bake/runtime/build"
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
		Short: "remove what interrupted builds left on platforms",
		Long: `Removes the snapshots, images and other resources that interrupted builds of this
host left on platforms, as recorded in the ledger. With --platform it also removes
what builds on other hosts left there, found by tags. What it cannot see, such as
resources of another account, it keeps and reports.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.gc(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.platform, "platform", "", "only this `platform`, and also what is found by its tags")
	flags.StringArrayVar(&f.options, "option", nil, "an option of the platform, as `name=value`, such as region=eu-west-1")
	flags.StringVar(&f.age, "older-than", "", "keep what is younger than a `duration` such as 48h (default: 24h for what is found by tags only)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print what would be removed, and remove nothing")
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
	now := time.Now()
	c := build.Collection{Platform: f.platform, Options: options, Before: now.Add(-age), TaggedBefore: now.Add(-age), DryRun: f.dryRun}
	if f.age == "" {
		c.TaggedBefore = now.Add(-tagAge)
	}
	return a.withHost(func(h *build.Host) error {
		told := 0
		err := h.Collect(ctx, c, func(got build.Collected) {
			told++
			a.writeCollected(got, f.dryRun)
		}, func(u *platforms.Unseen) {
			told++
			fmt.Fprintf(a.stdout, "left alone what is in %s: %v\n", u.Place, u.Err)
		})
		if err == nil && told == 0 {
			fmt.Fprintln(a.stdout, "nothing is left behind")
		}
		return err
	})
}

func (a *app) writeCollected(c build.Collected, dryRun bool) {
	name := build.ResourceName(c.Resource)
	switch {
	case c.Left != "":
		fmt.Fprintf(a.stdout, "left alone %s, %s: %s\n", name, c.Of, c.Left)
	case dryRun:
		fmt.Fprintf(a.stdout, "would remove %s, %s\n", name, c.Of)
	default:
		fmt.Fprintf(a.stdout, "removed %s, %s\n", name, c.Of)
	}
}

// platformOptions returns a platform with the options that flags give it.
func (a *app) platformOptions(name string, given []string) (platforms.Spec, json.RawMessage, error) {
	c := a.config(nil)
	spec := c.Spec(name)
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
