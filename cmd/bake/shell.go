package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"bake.build/bake/internal/printable"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
	"bake.build/bake/runtime/store"
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

After "--" stands a command that runs in place of the shell.`,
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
	cmd.ValidArgsFunction = a.completer(addressable)
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
		layer, key, err := s.layer(ctx, rest[0], f)
		if err != nil {
			return err
		}
		return s.openShell(ctx, layer, key, command)
	})
}

// layer finds the layer that address names and builds it when it is missing.
// The key is that of its result in this run.
func (s *session) layer(ctx context.Context, address string, f *buildFlags) (*plan.Node, plan.Key, error) {
	if n, key, ok := s.keptLayer(address); ok {
		return n, key, nil
	}
	n, err := find(s.def, address)
	if err == nil {
		n, err = layerOf(n)
	}
	if err != nil {
		return nil, plan.Key{}, err
	}
	key, err := s.makeLayer(ctx, n, f)
	return n, key, err
}

// keptLayer finds a layer that a failed step left in the store, which is no
// node of the plan, by its key.
func (s *session) keptLayer(address string) (*plan.Node, plan.Key, bool) {
	key, err := plan.ParseKey(address)
	if err != nil || !s.store.Has(key) {
		return nil, key, false
	}
	entry, err := s.store.Get(key)
	if err != nil {
		return nil, key, false
	}
	for _, n := range s.def.Plan.Nodes {
		if n.Platform != nil && n.Platform.Name == entry.Platform {
			return n, key, true
		}
	}
	return nil, key, false
}

// makeLayer builds the layer n, quietly when it is in the store.
func (s *session) makeLayer(ctx context.Context, n *plan.Node, f *buildFlags) (key plan.Key, err error) {
	cfg := s.solveConfig(f, event.NewStream())
	schedule, err := solve.Decide(ctx, cfg, s.def.Plan, []*plan.Node{n})
	if err != nil {
		return key, err
	}
	if run, _ := schedule.Count(); run > 0 {
		reader, closeUI, err := s.display(f)
		if err != nil {
			return key, err
		}
		defer func() { err = errors.Join(err, closeUI()) }()
		cfg.Events = event.NewStream(reader)
		s.stream(cfg.Events)
		defer s.stream(nil)
	}
	if err := s.ready(ctx, cfg, []*plan.Node{n}, f); err != nil {
		return key, err
	}
	result, err := solve.Run(ctx, cfg, s.def.Plan, []*plan.Node{n})
	if err != nil {
		return key, err
	}
	return result.Targets[0].Key, nil
}

// openShell boots a machine on the chain of key and gives it the terminal, or runs
// the command in it if there is one.
func (s *session) openShell(ctx context.Context, layer *plan.Node, key plan.Key, command []string) (err error) {
	driver, err := s.drivers.get(layer.Platform)
	if err != nil {
		return err
	}
	chain, err := s.chain(ctx, driver, layer, key)
	if err != nil {
		return err
	}
	m, err := driver.Boot(ctx, chain, lineSink{s.stderr})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if len(command) > 0 {
		return exitOf(m.Run(ctx, platforms.Cmd{Args: command, Stdin: s.stdin, Stdout: printable.Raw(s.stdout), Stderr: printable.Raw(s.stderr)}))
	}
	fmt.Fprintf(s.stderr, "a machine on %s (%s); what you change is thrown away\n", layer.Name, key.Short())
	return s.interactive(ctx, m)
}

// chain returns the layers that a machine on key is opened with. Where the platform
// keeps its layers, that is the one alone.
func (s *session) chain(ctx context.Context, d platforms.Driver, layer *plan.Node, key plan.Key) ([]platforms.Layer, error) {
	if k, ok := d.(platforms.Keeper); ok {
		if entry, err := s.store.Get(key); err == nil {
			return []platforms.Layer{entry.Layer()}, nil // an origin, or what a failed step left
		} else if !errors.Is(err, store.ErrMissing) {
			return nil, err
		}
		refs, err := k.Kept(ctx, []string{key.String()})
		if err != nil {
			return nil, err
		}
		ref := refs[key.String()]
		if ref == "" {
			return nil, fmt.Errorf("the layer %s is not there any more", layer.Name)
		}
		return []platforms.Layer{{Key: key.String(), Ref: ref}}, nil
	}
	entries, err := s.store.Chain(key)
	if err != nil {
		return nil, err
	}
	chain := make([]platforms.Layer, len(entries))
	for i, e := range entries {
		chain[i] = e.Layer()
	}
	return chain, nil
}

// interactive runs a shell in m on the terminal. Where it ends with another status
// than zero, that is the error, as a sessionError.
func (s *session) interactive(ctx context.Context, m platforms.Machine) error {
	sheller, ok := m.(platforms.Sheller)
	if !ok {
		return errors.New("this platform has no interactive shell")
	}
	return exitOf(sheller.Shell(ctx, platforms.Cmd{
		Args:   []string{"/bin/sh", "-c", "command -v bash >/dev/null && exec bash; exec sh"},
		Stdin:  s.stdin,
		Stdout: printable.Raw(s.stdout),
		Stderr: printable.Raw(s.stderr),
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
	defer s.suspend()()
	fmt.Fprintf(s.stderr, "%s failed: %v\na shell in its machine; exit ends the build\n", n.Name, failure)
	if err := s.interactive(ctx, m); !onlySession(err) {
		return err
	}
	return nil
}

// A lineSink writes a log to a stream and drops progress.
type lineSink struct{ io.Writer }

func (lineSink) Progress(string, int64, int64) {}
