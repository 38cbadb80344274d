package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"bake.build/bake/internal/printable"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/ui"
)

func (a *app) diffCommand() *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use:   "diff [DEFINITION] A B",
		Short: "list the files added, changed and removed between two layers or artifacts",
		Long: `Lists how B differs from A, one file on a line: A for added, M for changed, R for
removed. Layers are named as for bake shell, and built first when they are
missing.`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := defaultDefinition
			if len(args) == 3 {
				file, args = args[0], args[1:]
			}
			return a.diff(cmd.Context(), file, args[0], args[1], f)
		},
	}
	cmd.ValidArgsFunction = a.completer(build.Addressable)
	f.addTo(cmd)
	return cmd
}

func (a *app) diff(ctx context.Context, file, from, to string, f *buildFlags) error {
	return a.withMachines(ctx, file, f, func(s *session) error {
		old, err := s.layer(ctx, from, f)
		if err != nil {
			return err
		}
		now, err := s.layer(ctx, to, f)
		if err != nil {
			return err
		}
		changes, err := build.Diff(ctx, old, now)
		if err != nil {
			return err
		}
		for _, c := range changes {
			fmt.Fprintf(a.stdout, "%c %10s  %s\n", c.What, ui.Size(c.Size), printable.Name("/"+c.Path))
		}
		return nil
	})
}
