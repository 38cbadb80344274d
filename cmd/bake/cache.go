package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bake.build/bake/internal/printable"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/store"
	"bake.build/bake/runtime/ui"
)

func (a *app) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "manage the layer store",
	}
	cmd.AddCommand(a.cacheLsCommand(), a.cacheDuCommand(), a.cachePruneCommand(), a.cacheVerifyCommand())
	return cmd
}

// withStore runs use with the user's store open.
func (a *app) withStore(use func(*store.Store) error) error {
	return a.withHost(func(h *build.Host) error { return use(h.Store) })
}

func (a *app) cacheLsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "list layers, the last used first",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.withStore(func(s *store.Store) error {
				entries, err := s.List()
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "KEY\tSIZE\tUSED\tTOOK\tSTEP")
				for _, e := range entries {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", e.Key.Short(), ui.Size(e.Size),
						ago(e.Used), e.Took.Round(10*time.Millisecond), title(e))
				}
				return w.Flush()
			})
		},
	}
}

// title says what a layer is of: the name of its step, and whether that failed
// and --on-error=keep left what it had done.
func title(e *store.Entry) string {
	if strings.HasPrefix(e.Kind, "failed ") {
		return "failed: " + printable.OneLine(e.Name)
	}
	return printable.OneLine(e.Name)
}

// ago says how long before now t was, in one unit.
func ago(t time.Time) string {
	d := time.Since(t)
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

func (a *app) cacheDuCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "du",
		Short: "show the disk usage of the store",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(func(s *store.Store) error {
				u, err := s.Usage(cmd.Context())
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
				fmt.Fprintf(w, "%s\t layers (%d)\n", ui.Size(u.Layers), len(u.ByLayer))
				fmt.Fprintf(w, "%s\t downloads, package caches, kept memory of machines\n", ui.Size(u.Caches))
				fmt.Fprintf(w, "%s\t records, work in progress\n", ui.Size(u.Other))
				fmt.Fprintf(w, "%s\t in all, in %s\n", ui.Size(u.Total()), s.Dir())
				return w.Flush()
			})
		},
	}
}

func (a *app) cachePruneCommand() *cobra.Command {
	var o store.PruneOptions
	var size, age, unused string
	var yes bool
	var on pruneOn
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "remove layers, those not used for longest first",
		Long: `Removes layers by age or by size, or all of them. What a running build uses
stays. Without a condition, layers that were not used for 30 days go. Where more
than half of the layers would go, it asks first, unless --all or --yes is given.

With --platform it removes the layers that a platform keeps itself, such as EBS
snapshots of aws: those that are older than a time, or were not used for one.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if size != "" {
				if o.MaxSize, err = platforms.ParseSize(size); err != nil {
					return coded(exitUsage, fmt.Errorf("--max-size: %w", err))
				}
			}
			if on.platform != "" {
				return a.pruneFlags(cmd.Context(), on, o, size, age, unused)
			}
			if unused != "" || len(on.options) > 0 {
				return coded(exitUsage, errors.New("--unused-for and --option belong to --platform"))
			}
			if age != "" {
				if o.MaxAge, err = platforms.ParseDuration(age); err != nil {
					return coded(exitUsage, fmt.Errorf("--older-than: %w", err))
				}
			}
			if !o.All && size == "" && age == "" {
				o.MaxAge = 30 * 24 * time.Hour
			}
			return a.withStore(func(s *store.Store) error {
				if err := a.sure(cmd.Context(), s, o, yes); err != nil {
					return err
				}
				return a.prune(cmd.Context(), s, o)
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.All, "all", false, "remove every layer that is not in use")
	flags.StringVar(&size, "max-size", "", "keep the most recently used layers, up to a `size` such as 20G")
	flags.StringVar(&age, "older-than", "", "remove layers not used for a `duration` such as 72h")
	flags.BoolVar(&o.Caches, "downloads", false, "remove downloads, package caches and the kept memory of machines as well, whatever their age")
	flags.BoolVar(&o.DryRun, "dry-run", false, "print what would be removed, and remove nothing")
	flags.BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	flags.StringVar(&on.platform, "platform", "", "remove the layers kept on this `platform`, such as aws")
	flags.StringArrayVar(&on.options, "option", nil, "an option of the platform, as `name=value`, such as region=eu-west-1")
	flags.StringVar(&unused, "unused-for", "", "with --platform, remove layers not used for a `duration`; --older-than then counts from their creation")
	return cmd
}

// pruneFlags reads the flags of bake cache prune --platform.
func (a *app) pruneFlags(ctx context.Context, on pruneOn, o store.PruneOptions, size, age, unused string) (err error) {
	if o.All || o.Caches || size != "" {
		return coded(exitUsage, errors.New("--all, --downloads and --max-size are about the store, and not about --platform"))
	}
	if age != "" {
		if on.made, err = platforms.ParseDuration(age); err != nil {
			return coded(exitUsage, fmt.Errorf("--older-than: %w", err))
		}
	}
	if unused != "" {
		if on.used, err = platforms.ParseDuration(unused); err != nil {
			return coded(exitUsage, fmt.Errorf("--unused-for: %w", err))
		}
	}
	on.dryRun = o.DryRun
	return a.prunePlatform(ctx, on)
}

// sure asks whether layers may be removed where these are more than half of the
// store, by their number or by their bytes. Downloads do not count.
func (a *app) sure(ctx context.Context, s *store.Store, o store.PruneOptions, yes bool) error {
	if yes || o.All || o.DryRun {
		return nil
	}
	o.DryRun, o.Caches = true, false
	would, err := s.Prune(ctx, o)
	if err != nil {
		return err
	}
	u, err := s.Usage(ctx)
	if err != nil {
		return err
	}
	if 2*len(would.Layers) <= len(u.ByLayer) && 2*would.Bytes <= u.Layers {
		return nil
	}
	what := fmt.Sprintf("this removes %d of %d layers, %s of %s", len(would.Layers), len(u.ByLayer), ui.Size(would.Bytes), ui.Size(u.Layers))
	answer, err := a.ask(nil)(ctx, what+"; go on? [y/N]")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return coded(exitUsage, build.WithHint(errors.New(what), "add --yes if that is meant, or see with --dry-run which they are"))
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return coded(exitUsage, errors.New("nothing was removed"))
	}
	return nil
}

func (a *app) prune(ctx context.Context, s *store.Store, o store.PruneOptions) error {
	pruned, err := s.Prune(ctx, o)
	if err != nil {
		return err
	}
	verb := "removed"
	if o.DryRun {
		verb = "would remove"
	}
	for _, e := range pruned.Layers {
		fmt.Fprintf(a.stdout, "%s %s  %s\n", verb, e.Key.Short(), title(e))
	}
	for _, c := range pruned.Caches {
		fmt.Fprintf(a.stdout, "%s cache %s\n", verb, c)
	}
	fmt.Fprintf(a.stdout, "%s %d layers, %s\n", verb, len(pruned.Layers), ui.Size(pruned.Bytes))
	if pruned.Kept > 0 {
		fmt.Fprintf(a.stdout, "%d layers are in use and stay\n", pruned.Kept)
	}
	return nil
}

func (a *app) cacheVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "read every layer again and drop the damaged ones",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(func(s *store.Store) error { return a.verify(cmd.Context(), s) })
		},
	}
}

func (a *app) verify(ctx context.Context, s *store.Store) error {
	checked := 0
	var damaged []string
	err := s.Verify(ctx, true, func(e store.Entry, err error) {
		checked++
		if err != nil {
			damaged = append(damaged, e.Key.Short())
			fmt.Fprintf(a.stderr, "%s  %s: %v; dropped\n", e.Key.Short(), title(&e), err)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%d layers read, %d damaged\n", checked, len(damaged))
	if len(damaged) > 0 {
		slices.Sort(damaged)
		return coded(exitDamaged, fmt.Errorf("%d damaged layers were dropped; the next build makes them again", len(damaged)))
	}
	return nil
}
