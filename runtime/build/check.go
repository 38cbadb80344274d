package build

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// checkSecrets returns an error of the kind KindDefinition for each secret that
// nodes use and that has no value.
func (b *Build) checkSecrets(nodes []*plan.Node) error {
	var errs []error
	told := make(map[string]bool)
	for _, n := range nodes {
		for _, name := range solve.SecretNames(n) {
			if _, err := b.secrets(name); err != nil && !told[name] {
				told[name] = true
				errs = append(errs, &plan.Error{Pos: n.Pos, Err: fmt.Errorf("secret %q: %w", name, err)})
			}
		}
	}
	return of(KindDefinition, errors.Join(errs...))
}

// checkLocal returns an error for each of nodes that runs a program of this host, unless
// that is allowed: whose definition or module it is, it can do what the user can.
func checkLocal(nodes []*plan.Node, o Options) error {
	var errs []error
	for _, n := range nodes {
		if _, local := n.Op.(*op.Local); local && !o.AllowLocal {
			err := fmt.Errorf("%s: it runs a program of this host, outside of every sandbox", n.Op.Kind())
			errs = append(errs, &plan.Error{Pos: n.Pos, Err: WithHint(err, "--allow-local lets such steps run")})
		}
	}
	return of(KindUsage, errors.Join(errs...))
}

// checkHost returns a LackError that lists what this host lacks to run nodes.
func (b *Build) checkHost(ctx context.Context, nodes []*plan.Node) error {
	problems, err := b.lacking(ctx, nodes)
	if err != nil || len(problems) == 0 {
		return err
	}
	return of(KindHost, &LackError{problems})
}

// Lacking returns what this host lacks to run what the schedule says.
func (b *Build) Lacking(ctx context.Context, schedule *solve.Schedule) ([]platforms.Problem, error) {
	return b.lacking(ctx, b.toRun(schedule))
}

func (b *Build) lacking(ctx context.Context, nodes []*plan.Node) ([]platforms.Problem, error) {
	var all problemSet
	checked := make(map[string][]platforms.Problem) // by the ID of the platform
	for _, n := range nodes {
		if isWritten(n) {
			problems, err := b.lackingExport(n)
			if err != nil {
				return nil, err
			}
			all.add(problems...)
			continue
		}
		if n.Platform == nil {
			continue
		}
		problems, ok := checked[n.Platform.ID()]
		if !ok {
			d, err := b.Driver(n.Platform)
			if err != nil {
				return nil, err
			}
			if c, ok := d.(platforms.Checker); ok {
				problems = c.Check()
			}
			checked[n.Platform.ID()] = problems
		}
		kind := ""
		if src, ok := n.Op.(plan.Source); ok {
			kind = src.Origin().Kind
		}
		if l, ok := n.Op.(*op.Local); ok {
			all.add(lackingPrograms(l)...)
		}
		archs, err := b.lackingArch(ctx, n)
		if err != nil {
			return nil, err
		}
		all.add(archs...)
		for _, p := range problems {
			if !p.Optional && (p.Origin == "" || p.Origin == kind) {
				all.add(p)
			}
		}
	}
	return all.list, nil
}

// lackingPrograms returns what l needs of this host and is not there.
func lackingPrograms(l *op.Local) []platforms.Problem {
	var problems []platforms.Problem
	for _, name := range l.Programs {
		if _, err := exec.LookPath(name); err != nil {
			problems = append(problems, platforms.Problem{What: name + " is not installed", Fix: "install " + name + " on this host", Need: "shell_local"})
		}
	}
	return problems
}

// isWritten reports whether n is written of a layer by this host.
func isWritten(n *plan.Node) bool {
	switch n.Op.(type) {
	case *export.Op, *export.Publish, *export.Disk:
		return true
	}
	return false
}

// lackingExport returns what this host lacks to write n.
func (b *Build) lackingExport(n *plan.Node) ([]platforms.Problem, error) {
	d, err := b.Driver(workPlatform(n))
	if err != nil {
		return nil, err
	}
	_, own := d.(platforms.Disker)
	switch o := n.Op.(type) {
	case *export.Disk:
		if !own {
			return export.DiskProblems(o.Boot), nil
		}
	case *export.Publish:
		if !ownLayer(n) {
			return b.Formats.Problems([]string{b.Spec(n.Platform.Name).Takes.Format}), nil
		}
	case *export.Op:
		problems := b.Formats.Problems(o.Formats)
		if t, ok := d.(platforms.DiskTreer); ok && own && b.Formats.FromFiles(o.Formats) {
			problems = append(problems, t.CheckDiskTree()...)
		}
		return problems, nil
	}
	return nil, nil
}

// lackingArch returns what this host lacks to run programs of the architecture of
// n's layer, where n runs some.
func (b *Build) lackingArch(ctx context.Context, n *plan.Node) ([]platforms.Problem, error) {
	switch o := n.Op.(type) {
	case *op.Shell, *op.Local, *op.Test:
	case plan.Source:
		if kind := o.Origin().Kind; kind != "debian" && kind != "ubuntu" {
			return nil, nil
		}
	default:
		return nil, nil
	}
	d, err := b.Driver(n.Platform)
	if err != nil {
		return nil, nil // told where the driver is asked for more
	}
	c, ok := d.(platforms.ArchChecker)
	if !ok {
		return nil, nil
	}
	traits, err := b.layers().Describe(ctx, n)
	if err != nil {
		return nil, err
	}
	return c.CheckArch(traits.Arch), nil
}

// workPlatform returns the platform whose machines and files n works with, or nil:
// for an image that is registered elsewhere, that of its layer.
func workPlatform(n *plan.Node) *plan.Platform {
	if _, ok := n.Op.(*export.Publish); ok {
		return n.Deps[0].Platform
	}
	return n.Platform
}
