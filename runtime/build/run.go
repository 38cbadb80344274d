package build

import (
	"context"
	"errors"
	"path/filepath"

	"bake.build/bake/builtins"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// Plan says what a run of targets would do. It runs nothing.
func (b *Build) Plan(ctx context.Context, targets []builtins.Target) (*solve.Schedule, error) {
	return b.decide(ctx, targetNodes(targets))
}

func (b *Build) decide(ctx context.Context, nodes []*plan.Node) (*solve.Schedule, error) {
	if err := b.checkOffline(nodes); err != nil {
		return nil, err
	}
	return solve.Decide(ctx, b.solveConfig(Options{}, event.NewStream()), b.Definition.Plan, nodes)
}

// Run runs the plan for targets and records what was built. Before anything runs it
// makes sure that what has to run can run here. It returns ErrPinsMoved when the
// definition has to be opened once more.
func (b *Build) Run(ctx context.Context, targets []builtins.Target, o Options) (*solve.Result, error) {
	b.WarnUnused()
	result, err := b.run(ctx, targetNodes(targets), o)
	if result == nil {
		return nil, err
	}
	return result, errors.Join(err, b.writeImages(ctx, result.Targets), b.remember(targets, result))
}

func (b *Build) run(ctx context.Context, nodes []*plan.Node, o Options) (*solve.Result, error) {
	events := event.NewStream()
	if o.Events != nil {
		events = event.NewStream(o.Events)
		b.stream(events)
		defer b.stream(nil)
	}
	cfg := b.solveConfig(o, events)
	if err := b.ready(ctx, cfg, nodes, o); err != nil {
		return nil, err
	}
	return solve.Run(ctx, cfg, b.Definition.Plan, nodes)
}

// solveConfig returns how plans are run.
func (b *Build) solveConfig(o Options, events *event.Stream) solve.Config {
	if o.OnError == "" {
		o.OnError = solve.Cleanup
	}
	return solve.Config{
		Store:     b.Store,
		Layers:    b.layers(),
		Exports:   &exporter{b: b, out: b.out()},
		Drivers:   b.Driver,
		Events:    events,
		Jobs:      o.Jobs,
		Claims:    b.claims(o),
		Project:   b.Project.Root,
		KeepGoing: o.KeepGoing,
		OnError:   o.OnError,
		Shell:     o.Shell,
		Secrets:   b.secrets,
		TempDir:   b.Store.TempDir,
		LogDir:    filepath.Join(b.Store.Dir(), "logs"),
		Why:       b.why(),
	}
}

// why returns what explains a layer that is not there. The record of
// the last build is read when it is first asked.
func (b *Build) why() func(*plan.Node) string {
	var past *Past
	return func(n *plan.Node) string {
		if past == nil {
			var err error
			if past, err = b.Past(); err != nil {
				b.warn(err.Error())
				past = &Past{}
			}
		}
		return past.Reason(n)
	}
}

// ready makes sure that what nodes need can be run here: that the origins to be
// imported can still be had as they are pinned, and that the tools and the rights are
// there.
func (b *Build) ready(ctx context.Context, cfg solve.Config, nodes []*plan.Node, o Options) error {
	if err := b.checkOffline(nodes); err != nil {
		return err
	}
	for {
		schedule, err := solve.Decide(ctx, cfg, b.Definition.Plan, nodes)
		if err != nil {
			return err
		}
		run := b.toRun(schedule)
		if len(run) == 0 {
			return nil
		}
		// What needs no network comes first.
		if err := errors.Join(b.CheckRights(), b.checkKernels(run), checkLocal(run, o)); err != nil {
			return err
		}
		if moved, err := b.confirm(ctx, run); err != nil {
			return err
		} else if moved {
			continue
		}
		return errors.Join(b.checkSecrets(run), b.checkHost(ctx, run), b.checkSizes(run, o), b.checkOut(run), b.checkPublications(ctx, run))
	}
}

// toRun returns the nodes of the plan that have to run.
func (b *Build) toRun(schedule *solve.Schedule) []*plan.Node {
	var run []*plan.Node
	for _, n := range b.Definition.Plan.Nodes {
		if schedule.Of(n).State == solve.ToRun {
			run = append(run, n)
		}
	}
	return run
}
