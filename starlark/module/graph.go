package module

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bake.build/bake/runtime/plan"
	"go.starlark.net/syntax"
)

// A Ref is one version of a module, and where it is taken from.
type Ref struct {
	Path    string
	Version string // "" for a local folder
	Source  Source // a local folder is relative to the root of the module that is built
}

// String names the module and its version, or its folder.
func (r Ref) String() string {
	if r.Version == "" {
		return fmt.Sprintf("%s (%s)", r.Path, r.Source)
	}
	return r.Path + " " + r.Version
}

// A Module is a module of a graph.
type Module struct {
	Ref
	File *File

	by   *Module // who asked for it first; nil for the module that is built
	from syntax.Position
}

// A Graph is a module with all that it requires, in the versions that were selected.
type Graph struct {
	Main    *Module
	Modules []*Module // without Main, by their paths

	byPath map[string]*Module
	asked  []*Module // every version that something asks for, each after who asked for it first
}

// Module returns the module of a path, in the version that was selected, or nil.
func (g *Graph) Module(path string) *Module { return g.byPath[path] }

// Required returns what the files of m load as @name//, by name.
func (g *Graph) Required(m *Module) map[string]*Module {
	required := make(map[string]*Module, len(m.File.Requires))
	for _, r := range m.File.Requires {
		required[r.Name] = g.byPath[r.Path]
	}
	return required
}

// Edges calls yield for each requirement of the modules that were selected: who asks,
// what is asked for, and what it got.
func (g *Graph) Edges(yield func(from *Module, r Require, got *Module)) {
	for _, m := range append([]*Module{g.Main}, g.Modules...) {
		for _, r := range m.File.Requires {
			yield(m, r, g.byPath[r.Path])
		}
	}
}

// Chain returns how m came to be asked for: the modules from the one that is built to
// m.
func (m *Module) Chain() []string {
	var chain []string
	for ; m.by != nil; m = m.by {
		chain = append(chain, m.String())
	}
	chain = append(chain, m.Path)
	slices.Reverse(chain)
	return chain
}

// A ChainError is what went wrong with one version of a module.
type ChainError struct {
	Ref   Ref
	Chain []string // from the module that is built to the one with the fault
	Err   error
}

// Error implements error.
func (e *ChainError) Error() string {
	text := fmt.Sprintf("%s: %v", e.Ref, e.Err)
	if len(e.Chain) > 2 {
		text += "\nrequired by " + arrows(e.Chain)
	}
	return text
}

// Unwrap returns the cause.
func (e *ChainError) Unwrap() error { return e.Err }

func arrows(chain []string) string { return strings.Join(chain, " → ") }

// fault is err of m, at the requirement of the built module that leads to m.
func (m *Module) fault(err error) error {
	return m.at(&ChainError{m.Ref, m.Chain(), err})
}

// at gives err the position of the requirement of the built module that leads to m.
func (m *Module) at(err error) error {
	pos := m.from
	for ; m.by != nil; m = m.by {
		pos = m.from
	}
	if pos.Line == 0 && m.File != nil {
		pos = m.File.pos
	}
	return &plan.Error{Pos: []plan.Pos{posOf(pos)}, Err: err}
}

// choose selects one version of each path among all that are asked for.
func choose(main *Module, asked []*Module) (map[string]*Module, error) {
	byPath := map[string][]*Module{}
	for _, m := range asked {
		byPath[m.Path] = append(byPath[m.Path], m)
	}
	selected := map[string]*Module{main.Path: main}
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		if path == main.Path {
			m := byPath[path][0]
			return nil, m.fault(fmt.Errorf("cycle: %s", arrows(m.Chain())))
		}
		m, err := pick(main, byPath[path])
		if err != nil {
			return nil, err
		}
		selected[path] = m
	}
	return selected, nil
}

// pick selects one of the versions of a path. A local folder, and then a branch or
// commit that the built module asks for, are before every version.
func pick(main *Module, candidates []*Module) (*Module, error) {
	best := candidates[0]
	for _, m := range candidates[1:] {
		switch {
		case rank(m) != rank(best):
			if rank(m) > rank(best) {
				m, best = best, m
			}
			if rank(best) == 1 && best.by != main {
				return nil, conflict(m, best, "no order is known of versions and of branches or commits: require the module in this bake.mod, which decides")
			}
		case rank(m) == 0 && Compare(m.Version, best.Version) > 0:
			best = m
		case rank(m) == 0 && Compare(m.Version, best.Version) < 0:
		case rank(m) == 1 && best.by == main:
		case rank(m) == 1 && m.by == main:
			best = m
		default:
			return nil, conflict(m, best, "say with replace() in this bake.mod which it is")
		}
	}
	return best, nil
}

// rank orders what has no order as versions: 2 for a local folder, 1 for a branch or
// commit, 0 for a version.
func rank(m *Module) int {
	switch {
	case m.Source.Local():
		return 2
	case !IsRelease(m.Version):
		return 1
	}
	return 0
}

// A ConflictError says that two modules ask for what cannot both be had.
type ConflictError struct {
	A, B *Module
	hint string
}

// Error implements error.
func (e *ConflictError) Error() string {
	show := func(m *Module) string {
		return fmt.Sprintf("%s from %s, required by %s", cmp.Or(m.Version, "the folder"), m.Source, arrows(m.by.Chain()))
	}
	return fmt.Sprintf("conflict of %s:\n%s\n%s", e.A.Path, show(e.A), show(e.B))
}

// Hint says how to settle it.
func (e *ConflictError) Hint() string { return e.hint }

func conflict(a, b *Module, hint string) error {
	return a.at(&ConflictError{b, a, hint})
}

// reach takes what the built module needs of the versions that were selected, and
// refuses cycles.
func (g *Graph) reach() error {
	const open, done = 1, 2
	state := map[*Module]int{}
	var stack []*Module
	var visit func(m *Module) error
	visit = func(m *Module) error {
		switch state[m] {
		case done:
			return nil
		case open:
			var names []string
			for _, on := range stack[slices.Index(stack, m):] {
				names = append(names, on.String())
			}
			return m.fault(fmt.Errorf("cycle: %s", arrows(append(names, m.String()))))
		}
		state[m] = open
		stack = append(stack, m)
		for _, r := range m.File.Requires {
			next := g.byPath[r.Path]
			if next == nil {
				return m.fault(fmt.Errorf("%w: it has no %s", ErrStale, r.Path))
			}
			if err := visit(next); err != nil {
				return err
			}
		}
		stack = stack[:len(stack)-1]
		state[m] = done
		if m != g.Main {
			g.Modules = append(g.Modules, m)
		}
		return nil
	}
	if err := visit(g.Main); err != nil {
		return err
	}
	slices.SortFunc(g.Modules, func(a, b *Module) int { return strings.Compare(a.Path, b.Path) })
	return nil
}
