package lint

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/syntax"

	"bake.build/bake/internal/spell"
)

func brokenLoad() Rule {
	return Rule{
		Name: "broken-load", Severity: Error,
		Doc: "A file is loaded that is not there, or a name that it does not give to others: one that it does not define, or that it only loads itself. Modules of other teams are looked into where they are vendored, replaced by a folder or in the store.",
		Wrong: `load("@bake//debian.star", "cleanup")

m = cleanup(source(rootfs(), debian = "bookworm"))
export(m, "web", formats = ["tar"])`,
		Right: `load("@bake//debian.star", "clean")

m = clean(source(rootfs(), debian = "bookworm"))
export(m, "web", formats = ["tar"])`,
		check: func(p *pass) {
			for _, s := range p.stmts() {
				if load, ok := s.(*syntax.LoadStmt); ok {
					p.checkBroken(load)
				}
			}
		},
	}
}

// checkBroken reports what of a load fails.
func (p *pass) checkBroken(load *syntax.LoadStmt) {
	m, err := p.linter.moduleOf(p.path, load.ModuleName())
	if errors.Is(err, ErrUnseen) {
		return
	} else if err != nil {
		start, end := p.span(load.Module)
		p.found(p.source, start, end, err.Error(), "")
		return
	}
	if m.broken {
		return
	}
	for i, from := range load.From {
		wrong, hint := "", ""
		l, loads := m.loads[from.Name]
		switch {
		case m.names[from.Name]:
			continue
		case loads:
			wrong = fmt.Sprintf("%s does not give %s to others: it loads it itself", load.ModuleName(), from.Name)
			hint = fmt.Sprintf("it is %s of %q", l.name, l.module)
		default:
			wrong = fmt.Sprintf("%s defines no %s", load.ModuleName(), from.Name)
			if near := spell.Nearest(from.Name, m.public()); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
		}
		start, end := p.loadSpan(load, i)
		p.found(p.source, start, end, wrong, hint)
	}
}

// public returns the names that a module gives to others.
func (m *module) public() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(m.names)), func(name string) bool { return strings.HasPrefix(name, "_") })
}

func wrongArgument() Rule {
	return Rule{
		Name: "wrong-argument", Severity: Error,
		Doc: "A function is called with an argument that it does not have, or without one that it needs. Functions of the file itself are looked at and those that it loads, also of modules of other teams; those of the language say so themselves when a definition is evaluated.",
		Wrong: `load("@bake//debian.star", "apt")

m = apt.install(source(rootfs(), debian = "bookworm"), package = ["curl"])
export(m, "web", formats = ["tar"])`,
		Right: `load("@bake//debian.star", "apt")

m = apt.install(source(rootfs(), debian = "bookworm"), packages = ["curl"])
export(m, "web", formats = ["tar"])`,
		check: func(p *pass) {
			p.each(func(n syntax.Node) {
				if call, ok := n.(*syntax.CallExpr); ok {
					if def := p.definition(call); def != nil {
						p.checkArguments(call, signatureOf(def))
					}
				}
			})
		},
	}
}

// A signature is what a function can be called with.
type signature struct {
	params   []string // that have a name
	byPlace  int      // how many of them can be given by position
	required map[string]bool
	more     bool // *args
	rest     bool // **kwargs
}

func signatureOf(def *syntax.DefStmt) signature {
	s := signature{required: map[string]bool{}}
	keyword := false // behind a "*"
	for _, param := range def.Params {
		if u, ok := param.(*syntax.UnaryExpr); ok {
			s.more = s.more || u.Op == syntax.STAR && u.X != nil
			s.rest = s.rest || u.Op == syntax.STARSTAR
			keyword = true
			continue
		}
		name := paramOf(param).Name
		s.params = append(s.params, name)
		if !keyword {
			s.byPlace++
		}
		if _, plain := param.(*syntax.Ident); plain {
			s.required[name] = true
		}
	}
	return s
}

// checkArguments compares a call with what its function takes.
func (p *pass) checkArguments(call *syntax.CallExpr, s signature) {
	name, _ := calleeOf(call)
	given := map[string]bool{}
	byPlace, spread := 0, false
	for _, a := range call.Args {
		if u, ok := a.(*syntax.UnaryExpr); ok && (u.Op == syntax.STAR || u.Op == syntax.STARSTAR) {
			spread = true
			continue
		}
		kv, ok := a.(*syntax.BinaryExpr)
		if !ok || kv.Op != syntax.EQ {
			byPlace++
			continue
		}
		id := kv.X.(*syntax.Ident)
		given[id.Name] = true
		if !s.rest && !slices.Contains(s.params, id.Name) {
			start, end := p.span(id)
			p.found(p.source, start, end, fmt.Sprintf("%s has no parameter %s", name, id.Name), strings.Trim(spell.Hint(id.Name, "parameters", s.params), " ()"))
		}
	}
	start, end := p.span(call.Fn)
	if byPlace > s.byPlace && !s.more {
		p.found(p.source, start, end, fmt.Sprintf("%s takes at most %d arguments by position, and gets %d", name, s.byPlace, byPlace), "")
	}
	for i, param := range s.params {
		if s.required[param] && !given[param] && i >= min(byPlace, s.byPlace) && !spread {
			p.found(p.source, start, end, fmt.Sprintf("%s is called without %s", name, param), "")
		}
	}
}
