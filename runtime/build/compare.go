package build

import (
	"context"
	"errors"

	"bake.build/bake/builtins"
	"bake.build/bake/runtime/plan"
)

// A TargetChange is what becomes of an artifact or a test with other modules.
type TargetChange struct {
	Name     string
	Old, New plan.Key // zero where it was not there, or is no more
	Steps    int      // nodes that it is made of
	Changed  int      // those of them whose keys are others
	Changes  []Change // what is different in them, each node once among all targets
}

// A PastError says why a definition cannot be evaluated with the modules that it has
// had.
type PastError struct{ Err error }

// Error implements error.
func (e *PastError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *PastError) Unwrap() error { return e.Err }

// Compare evaluates a definition with the modules that are on disk and with those of
// w, and returns the targets whose keys differ. Nothing is built or written: both have
// the pins of bake.lock, and where it has none, what origins are now. A PastError says
// that only what is on disk cannot be evaluated.
func (w *Modules) Compare(ctx context.Context, definition string) (changes []TargetChange, err error) {
	now, err := w.evaluate(ctx, definition, &Build{modules: w.set})
	if err != nil {
		return nil, err
	}
	was, err := w.evaluate(ctx, definition, &Build{resolver: now.resolver})
	if err != nil {
		return nil, &PastError{err}
	}
	past := pastOf(was.Definition)
	past.definition = now.Definition
	return past.targetChanges(now.Definition), nil
}

// evaluate opens a definition with what b has already, and closes it. Errors are
// SourceErrors.
func (w *Modules) evaluate(ctx context.Context, definition string, b *Build) (*Build, error) {
	c := w.set.host.Config
	b.Host, b.trial = &Host{Config: c, notices: notices{notify: c.Notify}}, true
	if b.resolver != nil {
		b.resolver = b.resolverOf(b.resolver.File)
	}
	if err := errors.Join(b.open(ctx, definition), b.Close()); err != nil {
		return nil, &SourceError{b.Project, err}
	}
	return b, nil
}

// pastOf writes down a definition as if all of it had been built.
func pastOf(d *builtins.Definition) *Past {
	p := newPast(d)
	defined := make(map[plan.Key]*plan.Node)
	for _, n := range d.Plan.Nodes {
		defined[n.Key] = n
	}
	for _, t := range Targets(d) {
		p.Targets[t.Name] = t.Node.Key
		p.keep(t.Node.Key, defined, newPast(d))
	}
	return p
}

// targetChanges compares the targets of d with those of p.
func (p *Past) targetChanges(d *builtins.Definition) (changes []TargetChange) {
	told := map[*plan.Node]bool{}
	there := map[string]bool{}
	for _, t := range Targets(d) {
		there[t.Name] = true
		old, was := p.Targets[t.Name]
		if was && old == t.Node.Key {
			continue
		}
		c := TargetChange{Name: t.Name, Old: old, New: t.Node.Key}
		needed := map[*plan.Node]bool{}
		addNeeded(needed, t.Node)
		for n := range needed {
			if c.Steps++; p.Nodes[n.Key] == nil {
				c.Changed++
			}
		}
		if all, known := p.Changes(t.Node); known {
			for _, one := range all {
				if !told[one.Node] {
					told[one.Node] = true
					c.Changes = append(c.Changes, one)
				}
			}
		}
		changes = append(changes, c)
	}
	for name, old := range p.Targets {
		if !there[name] {
			changes = append(changes, TargetChange{Name: name, Old: old})
		}
	}
	return changes
}
