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
		Args:  cobra.MaximumNArgs(1),
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
		s.resolver.Update = true
		if err := s.resolver.Pin(ctx, s.def.Plan); err != nil {
			return s.notPinned(err)
		}
		names, err := s.resolver.Names(s.def.Plan)
		if err != nil {
			return err
		}
		s.resolver.File.Keep(names)
		if s.repinned.Load() == 0 {
			fmt.Fprintln(a.stdout, "every pin is current")
		}
		return nil
	})
}
