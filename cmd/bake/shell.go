package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"bake.build/bake/internal/printable"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/plan"
)

func (a *app) shellCommand() *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use:   "shell [DEFINITION] LAYER [-- COMMAND [ARGUMENT…]]",
		Short: "open a shell in a throw-away machine on any layer",
		Long: `Opens an interactive shell in a machine on a layer, which is built first when
it is missing. What the shell changes is thrown away. A layer is named by the
artifact or the test that uses it, by the name of its step, by its place
(images.star:12) or by the beginning of its key. The exit status is the shell's.

A command after "--" runs in place of the shell.`,
		Args: func(cmd *cobra.Command, args []string) error {
			layer, command := atDash(cmd, args)
			if cmd.ArgsLenAtDash() >= 0 && len(command) == 0 {
				return errors.New("no command")
			}
			return cobra.RangeArgs(1, 2)(cmd, layer)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			layer, command := atDash(cmd, args)
			return a.shell(cmd.Context(), layer, command, f)
		},
	}
	cmd.ValidArgsFunction = a.completer(build.Addressable)
	f.addTo(cmd)
	return cmd
}

// atDash splits arguments at "--".
func atDash(cmd *cobra.Command, args []string) (before, after []string) {
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		return args[:n], args[n:]
	}
	return args, nil
}

func (a *app) shell(ctx context.Context, args, command []string, f *buildFlags) error {
	file, rest := defaultDefinition, args
	if len(args) == 2 {
		file, rest = args[0], args[1:]
	}
	return a.withMachines(ctx, file, f, func(s *session) error {
		layer, err := s.layer(ctx, rest[0], f)
		if err != nil {
			return err
		}
		return s.openShell(ctx, layer, command)
	})
}

// layer finds the layer that address names, and builds it when it is missing.
func (s *session) layer(ctx context.Context, address string, f *buildFlags) (l *build.Layer, err error) {
	defer func() { err = errors.Join(err, s.display.close()) }()
	o, err := s.options(f)
	if err != nil {
		return nil, err
	}
	return s.Layer(ctx, address, o)
}

// openShell boots a machine on the layer and gives it the terminal, or runs the
// command in it if there is one.
func (s *session) openShell(ctx context.Context, layer *build.Layer, command []string) (err error) {
	m, err := layer.Boot(ctx, lineLogger{s.stderr})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if len(command) > 0 {
		return exitOf(m.Run(ctx, platforms.Cmd{Args: command, Stdin: s.stdin, Stdout: printable.Raw(s.stdout), Stderr: printable.Raw(s.stderr)}))
	}
	fmt.Fprintf(s.stderr, "a machine on %s (%s); what you change is thrown away\n", layer.Node.Name, layer.Key.Short())
	return s.interactive(ctx, m)
}

// interactive runs a shell in m on the terminal. Where it ends with another status
// than zero, that is the error, as a sessionError.
func (a *app) interactive(ctx context.Context, m platforms.Machine) error {
	sheller, ok := m.(platforms.Sheller)
	if !ok {
		return errors.New("this platform has no interactive shell")
	}
	return exitOf(sheller.Shell(ctx, platforms.Cmd{
		Args:   []string{"/bin/sh", "-c", "command -v bash >/dev/null && exec bash; exec sh"},
		Stdin:  a.stdin,
		Stdout: printable.Raw(a.stdout),
		Stderr: printable.Raw(a.stderr),
	}))
}

// exitOf turns the exit status of what the user ran into one of bake's own.
func exitOf(err error) error {
	var exit *platforms.ExitError
	if errors.As(err, &exit) && exit.Code > 0 {
		return &sessionError{exit.Code}
	}
	return err
}

// failureShell is what --on-error=shell does.
func (s *session) failureShell(ctx context.Context, n *plan.Node, m platforms.Machine, failure error) error {
	defer s.display.suspend()()
	fmt.Fprintf(s.stderr, "%s failed: %v\na shell in its machine; exit ends the build\n", n.Name, failure)
	if err := s.interactive(ctx, m); !onlySession(err) {
		return err
	}
	return nil
}

// A lineLogger writes a log to a stream and drops progress.
type lineLogger struct{ io.Writer }

func (lineLogger) Progress(string, int64, int64) {}
