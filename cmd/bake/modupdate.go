package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/plan"
)

// An updateFlags holds the flags of bake mod update.
type updateFlags struct {
	modFlags
	dry         bool
	definitions []string
}

func (a *app) modUpdateCommand() *cobra.Command {
	f := &updateFlags{}
	cmd := &cobra.Command{
		Use:   "update [NAME[@VERSION]...]",
		Short: "require newer versions of modules, and show which images change",
		Long: `Makes bake.mod require the newest version of the modules that are named, or of all,
within their major version or the version that is given, and takes branches as they
are now. It evaluates the project's definitions with the old and the new modules and
shows the artifacts and tests whose keys differ, with the steps that changed, before
anything is built.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withModules(&f.modFlags, func(w *build.Modules) error { return a.modUpdate(cmd.Context(), w, args, f) })
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.dry, "dry-run", false, "show what would change, and write nothing")
	cmd.Flags().StringArrayVar(&f.definitions, "definition", nil, "compare this `file` alone; may be given several times")
	return cmd
}

func (a *app) modUpdate(ctx context.Context, w *build.Modules, names []string, f *updateFlags) error {
	versions, err := w.Raise(ctx, names)
	if err != nil {
		return err
	}
	if len(versions) == 0 {
		fmt.Fprintln(a.stdout, "every module is current")
		return nil
	}
	for _, v := range versions {
		if v.Old == v.New {
			fmt.Fprintf(a.stdout, "%s  %s has moved\n", v.Path, v.New)
			continue
		}
		fmt.Fprintf(a.stdout, "%s  %s → %s\n", v.Path, v.Old, v.New)
	}
	if _, err := w.Resolve(ctx); err != nil {
		return err
	}
	definitions := f.definitions
	if len(definitions) == 0 {
		if definitions, err = w.Definitions(ctx); err != nil {
			return err
		}
	}
	var failed error
	for _, file := range definitions {
		changes, err := w.Compare(ctx, file)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			a.report(err)
			if past := (*build.PastError)(nil); errors.As(err, &past) {
				fmt.Fprintf(a.stderr, "%s: what changes is not known, since it cannot be evaluated with the modules that it had\n", a.rel(a.abs(file)))
				continue
			}
			failed = coded(exitDefinition, fmt.Errorf("%s: what changes in it is not known", a.rel(a.abs(file))))
			continue
		}
		a.writeTargetChanges(a.rel(a.abs(file)), changes)
	}
	if f.dry {
		return failed
	}
	if err := w.Save(ctx); err != nil {
		return err
	}
	return failed
}

// writeTargetChanges prints what becomes of a definition's targets.
func (a *app) writeTargetChanges(file string, changes []build.TargetChange) {
	if len(changes) == 0 {
		fmt.Fprintf(a.stdout, "%s: nothing changes\n", file)
		return
	}
	fmt.Fprintf(a.stdout, "%s:\n", file)
	var none plan.Key
	for _, c := range changes {
		switch {
		case c.New == none:
			fmt.Fprintf(a.stdout, "%s: is no more\n", c.Name)
		case c.Old == none:
			fmt.Fprintf(a.stdout, "%s: is new, %s\n", c.Name, c.New.Short())
		default:
			fmt.Fprintf(a.stdout, "%s: %s → %s, %d of %d steps change\n", c.Name, c.Old.Short(), c.New.Short(), c.Changed, c.Steps)
		}
		for _, one := range c.Changes {
			writeChange(a.stdout, one, a.rel)
		}
	}
}
