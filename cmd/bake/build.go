package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/solve"
	"bake.build/bake/runtime/ui"
)

// buildFlags holds the flags of the verbs that run a plan.
type buildFlags struct {
	definitionFlags
	progress  string
	onError   string
	jobs      int
	maxMemory string
	keepGoing bool
	local     bool
}

func (f *buildFlags) addTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.add(flags)
	flags.StringVarP(&f.out, "out", "o", "out", "output `directory` for artifacts")
	flags.StringVar(&f.progress, "progress", "auto", "how to show progress: auto, tty, plain or json")
	flags.StringVar(&f.onError, "on-error", "cleanup", "what to do with the machine of a failed step: cleanup, keep or shell")
	flags.IntVarP(&f.jobs, "jobs", "j", 0, "maximum number of machines at once (default: number of CPUs, at least 2)")
	flags.StringVar(&f.maxMemory, "max-memory", "", "maximum memory of all machines together, a `size` such as 8G (default: 80% of what is available)")
	flags.BoolVar(&f.local, "allow-local", false, "let steps run programs of this host, as shell_local does")
	flags.BoolVarP(&f.keepGoing, "keep-going", "k", false, "continue with what does not depend on a failed step")
}

// check refuses values that no flag has.
func (f *buildFlags) check() error {
	if !slices.Contains(ui.Modes(), f.progress) {
		return coded(exitUsage, fmt.Errorf("--progress %s: want one of auto, tty, plain, json", f.progress))
	}
	choices := []solve.OnError{solve.Cleanup, solve.Keep, solve.Shell}
	if !slices.Contains(choices, solve.OnError(f.onError)) {
		return coded(exitUsage, fmt.Errorf("--on-error %s: want one of cleanup, keep, shell", f.onError))
	}
	if _, err := f.memory(); err != nil {
		return err
	}
	if f.jobs < 0 {
		return coded(exitUsage, fmt.Errorf("--jobs %d: want a positive number", f.jobs))
	}
	return nil
}

// memory returns what --max-memory says in bytes; 0 when it says nothing.
func (f *buildFlags) memory() (int64, error) {
	if f.maxMemory == "" {
		return 0, nil
	}
	n, err := platforms.ParseSize(f.maxMemory)
	if err != nil {
		return 0, coded(exitUsage, fmt.Errorf("--max-memory: %w", err))
	}
	return n, nil
}

// options returns how the flags want targets to be run. They were checked.
func (s *session) options(f *buildFlags) (build.Options, error) {
	memory, err := f.memory()
	s.display.mode = f.progress
	return build.Options{
		Events:     s.display,
		Jobs:       f.jobs,
		MaxMemory:  memory,
		KeepGoing:  f.keepGoing,
		AllowLocal: f.local,
		OnError:    solve.OnError(f.onError),
		Shell:      s.failureShell,
	}, err
}

func (a *app) buildCommand() *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use:   "build [DEFINITION] [TARGET…]",
		Short: "build artifacts, and what they need",
		Long: `Builds the artifacts of a definition that the targets match (names with globs),
or all of them, and runs their tests. What did not change is taken from the cache.

An artifact appears under its name when its tests have passed. Until then it lies
beside it with .untested behind its name, and where one has failed with .failed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			file, patterns := a.splitArgs(args)
			return a.runTargets(cmd.Context(), file, f, func(d *builtins.Definition) ([]builtins.Target, error) {
				targets, err := build.Choose(build.Targets(d), patterns)
				return build.WithTests(d, targets), err
			})
		},
	}
	cmd.ValidArgsFunction = a.completer(allTargets)
	f.addTo(cmd)
	return cmd
}

func (a *app) testCommand() *cobra.Command {
	f, specs := &buildFlags{}, &specFlags{}
	cmd := &cobra.Command{
		Use:   "test [DEFINITION] [TEST…] | PATH…",
		Short: "run the tests of images, or test definitions without building",
		Long: `Given a definition, runs its tests, those made by test(), and builds only what they
need.

Given directories or files *_test.star, tests definitions: runs each function
test_…(t) in them, without building and without a network. bake doc t says
what t can do. Below directories the examples in docstrings are evaluated, too.
Without arguments that is done where there is no images.star, or where a flag is for
it.

Tests of definitions run in parallel, each on an evaluation of its own. One that
computes without end is stopped by the limit of steps of a definition. With
--coverage a line counts as run when all statements that begin on it were begun;
what lies inside of one statement, such as a lambda, is not told apart. All files of
the projects and modules that the tests belong to count, but for tests; the library
and other modules do not.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			isSpec := a.isSpec(cmd, args)
			if err := checkTestFlags(cmd, isSpec); err != nil {
				return err
			}
			if isSpec {
				return a.testSpecs(cmd.Context(), args, f, specs)
			}
			file, patterns := a.splitArgs(args)
			return a.runTargets(cmd.Context(), file, f, func(d *builtins.Definition) ([]builtins.Target, error) {
				return build.Choose(d.Tests, patterns)
			})
		},
	}
	cmd.ValidArgsFunction = a.completer(testTargets)
	f.addTo(cmd)
	specs.add(cmd.Flags())
	return cmd
}

// makesTargets says how a definition gets targets.
const makesTargets = `export(layer, "name") makes an artifact, test(layer, "…") a test`

// runTargets builds what pick chooses of a definition.
func (a *app) runTargets(ctx context.Context, file string, f *buildFlags, pick func(*builtins.Definition) ([]builtins.Target, error)) error {
	return a.withMachines(ctx, file, f, func(s *session) error {
		targets, err := pick(s.Definition)
		if err != nil {
			return err
		}
		if len(targets) == 0 {
			return coded(exitDefinition, build.WithHint(errors.New("the definition has no targets"), makesTargets))
		}
		return s.build(ctx, targets, f)
	})
}

// build runs the plan for targets and shows how it goes.
func (s *session) build(ctx context.Context, targets []builtins.Target, f *buildFlags) (err error) {
	defer func() { err = errors.Join(err, s.display.close()) }()
	o, err := s.options(f)
	if err != nil {
		return err
	}
	result, err := s.Run(ctx, targets, o)
	if err == nil && f.progress != "json" && columnsOf(s.stdout) == 0 {
		err = s.writePaths(result)
	}
	return err
}

// writePaths prints the paths of the artifacts that were asked for, one a line,
// for programs that read the standard output.
func (s *session) writePaths(result *solve.Result) error {
	for _, t := range result.Targets {
		for _, f := range t.Files {
			if _, err := fmt.Fprintln(s.stdout, s.rel(f.Path)); err != nil {
				return err
			}
		}
	}
	return nil
}
