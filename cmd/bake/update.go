package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) updateCommand() *cobra.Command {
	f := &definitionFlags{}
	cmd := &cobra.Command{
		Use:   "update [DEFINITION]",
		Short: "resolve every origin again and renew bake.lock",
		Long: `Resolves the origins of a definition again, with the given parameters, and writes
their pins to bake.lock. Pins of the project's other definitions are kept.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, _ := a.splitArgs(args)
			return a.update(cmd.Context(), file, f)
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (a *app) update(ctx context.Context, file string, f *definitionFlags) error {
	return a.withSession(ctx, file, f, func(s *session) error {
		changed, err := s.Update(ctx)
		if err != nil {
			return err
		}
		if changed == 0 {
			fmt.Fprintln(a.stdout, "every pin is current")
		}
		return nil
	})
}
