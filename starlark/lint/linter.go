package lint

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"

	"bake.build/bake/starlark/eval"
)

// A Language is what definitions can call without loading it.
type Language struct {
	Functions map[string]Function // by name
}

// A Function is a function of the language.
type Function struct {
	Layer      bool              // returns a layer
	Deprecated string            // what to write instead; "" where it is not deprecated
	Args       map[string]string // of arguments that are deprecated, what to write instead
}

// ErrUnseen says that a file may be there and cannot be looked into, as one of a module
// that was not fetched.
var ErrUnseen = errors.New("it cannot be looked into here")

// A Linter looks for findings in files. Its methods may be called concurrently.
type Linter struct {
	Rules    []Rule
	Language Language

	// Read returns what a file loads or names: the text of name, which is as load or
	// script have it, as seen from the file at path, and the path by which it is
	// opened. The error is ErrUnseen where it cannot tell what the name stands for. It
	// may be nil.
	Read func(path, name string) (text []byte, at string, err error)

	// Show returns the name that positions have of a path.
	Show func(path string) string

	// IsDir reports whether name, as copy has it, is a directory as seen from the file
	// at path. It may be nil.
	IsDir func(path, name string) bool

	mu      sync.Mutex
	loads   map[string]bool // names that some file loads
	modules map[string]*module
}

// Loads tells the linter which names a file loads from others, before any file is
// linted: what another file loads is used.
func (l *Linter) Loads(text []byte) {
	if !bytes.Contains(text, []byte("load")) {
		return
	}
	tree, err := eval.Dialect().Parse("", text, 0)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.loads == nil {
		l.loads = map[string]bool{}
	}
	for _, s := range tree.Stmts {
		if load, ok := s.(*syntax.LoadStmt); ok {
			for _, name := range load.From {
				l.loads[name.Name] = true
			}
		}
	}
}

// loaded reports whether some file loads the name.
func (l *Linter) loaded(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loads[name]
}

// A file is a definition, or a script that is linted by itself.
type file struct {
	*source
	linter  *Linter
	tree    *syntax.File // nil for a script
	reads   map[*syntax.Ident]int
	scripts []*script // that steps and tests run
	kept    []*script // that are copied into the machine, for whoever runs them
	consts  map[*syntax.Ident]syntax.Expr
	own     *module // nil before it is asked for
}

// Definition returns the findings in a definition and in the scripts that it names.
// The text has no byte order mark.
func (l *Linter) Definition(name, path string, text []byte) []Finding {
	f := &file{source: newSource(name, path, text), linter: l}
	tree, err := parse(name, text)
	if err != nil {
		return l.broken(f, err)
	}
	f.tree = tree
	f.reads = readsOf(tree)
	f.scripts = f.findScripts()
	f.findCopied()
	return l.run(f, f.disables())
}

// Script returns the findings in a shell script that is a file of its own.
func (l *Linter) Script(name, path string, text []byte) []Finding {
	f := &file{source: newSource(name, path, text), linter: l}
	f.scripts = []*script{newScript(f.source, wholeText(text), true)}
	return l.run(f, nil)
}

// broken returns the errors of a file that does not parse.
func (l *Linter) broken(f *file, err error) []Finding {
	p := l.pass(f, "syntax", nil)
	if p == nil {
		return nil
	}
	var found []Finding
	p.report = func(one Finding) { found = append(found, one) }
	var syn syntax.Error
	var list resolve.ErrorList
	switch {
	case errors.As(err, &syn):
		at := f.offset(syn.Pos)
		p.found(f.source, at, at, syn.Msg, "")
	case errors.As(err, &list):
		for _, e := range list {
			at := f.offset(e.Pos)
			p.found(f.source, at, at, e.Msg, "")
		}
	default:
		p.found(f.source, 0, 0, err.Error(), "")
	}
	return found
}

// pass returns the pass of a rule that is on, or nil.
func (l *Linter) pass(f *file, rule string, report func(Finding)) *pass {
	i := slices.IndexFunc(l.Rules, func(r Rule) bool { return r.Name == rule })
	if i < 0 {
		return nil
	}
	return &pass{file: f, rule: &l.Rules[i], report: report}
}

// run runs all rules on f, drops what comments switch off, and adds what is wrong
// with these.
func (l *Linter) run(f *file, disables []*disable) []Finding {
	for _, s := range f.scripts {
		disables = append(disables, s.disables()...)
	}
	all := disables
	for _, s := range f.kept { // whose comments may be about rules that are not for them here
		all = append(all, s.disables()...)
	}
	var found []Finding
	report := func(one Finding) {
		for _, d := range all {
			if d.covers(one) {
				return
			}
		}
		found = append(found, one)
	}
	for i := range l.Rules {
		if r := &l.Rules[i]; r.check != nil {
			r.check(&pass{file: f, rule: r, report: report})
		}
	}
	for _, d := range disables {
		l.judge(f, d, report)
	}
	return Sorted(found)
}

// readsOf returns how often each variable of a file is read, by its first binding.
func readsOf(tree *syntax.File) map[*syntax.Ident]int {
	bound := map[*syntax.Ident]bool{}
	bind := func(targets ...syntax.Expr) {
		for _, t := range targets {
			for _, id := range targetsOf(t) {
				bound[id] = true
			}
		}
	}
	reads := map[*syntax.Ident]int{}
	syntax.Walk(tree, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.AssignStmt:
			if n.Op == syntax.EQ {
				bind(n.LHS)
			}
		case *syntax.ForStmt:
			bind(n.Vars)
		case *syntax.ForClause:
			bind(n.Vars)
		case *syntax.DefStmt:
			bind(n.Name)
			for _, p := range n.Params {
				bind(paramOf(p))
			}
		case *syntax.LambdaExpr:
			for _, p := range n.Params {
				bind(paramOf(p))
			}
		case *syntax.LoadStmt:
			for _, to := range n.To {
				bind(to)
			}
		case *syntax.Comprehension: // its body comes before its variables
			for _, c := range n.Clauses {
				if c, ok := c.(*syntax.ForClause); ok {
					bind(c.Vars)
				}
			}
		case *syntax.Ident:
			if b := bindingOf(n); b != nil && b.First != nil && !bound[n] {
				reads[b.First]++
			}
		}
		return true
	})
	return reads
}

// bindingOf returns what a name is bound to, or nil for one that is no variable.
func bindingOf(id *syntax.Ident) *resolve.Binding {
	b, _ := id.Binding.(*resolve.Binding)
	return b
}

// used reports whether the variable that id binds is read anywhere in the file.
func (f *file) used(id *syntax.Ident) bool {
	b := bindingOf(id)
	return b == nil || b.First == nil || f.reads[b.First] > 0
}

// targetsOf returns the names that an assignment to x binds.
func targetsOf(x syntax.Expr) []*syntax.Ident {
	var all []*syntax.Ident
	switch x := x.(type) {
	case *syntax.Ident:
		if x != nil {
			all = append(all, x)
		}
	case *syntax.ParenExpr:
		all = targetsOf(x.X)
	case *syntax.TupleExpr:
		for _, e := range x.List {
			all = append(all, targetsOf(e)...)
		}
	case *syntax.ListExpr:
		for _, e := range x.List {
			all = append(all, targetsOf(e)...)
		}
	}
	return all
}

// paramOf returns the name of a parameter, or nil for a bare "*".
func paramOf(p syntax.Expr) *syntax.Ident {
	switch p := p.(type) {
	case *syntax.Ident:
		return p
	case *syntax.BinaryExpr:
		return paramOf(p.X)
	case *syntax.UnaryExpr:
		if p.X != nil {
			return paramOf(p.X)
		}
	}
	return nil
}
