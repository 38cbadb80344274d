package lint

import (
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"bake.build/bake/starlark/eval"
)

// A module is what is known of a file: which names are which functions.
type module struct {
	path      string                     // by which it is opened
	broken    bool                       // it does not parse: nothing is known of it
	names     map[string]bool            // that it gives to others, and those that begin with _
	functions map[string]*syntax.DefStmt // by name
	members   map[string]string          // of a name, or a struct's member as in "apt.install": what else it is called
	loads     map[string]loaded          // by the name that they have in the file
}

// A loaded is a name of another module.
type loaded struct{ module, name string }

// readModule reads a file that others load.
func readModule(path string, text []byte) *module {
	tree, err := parse(path, text)
	if err != nil {
		return &module{path: path, broken: true}
	}
	return newModule(path, tree)
}

// parse parses a file and resolves its names. Undefined ones are for who evaluates.
func parse(name string, text []byte) (*syntax.File, error) {
	tree, err := eval.Dialect().Parse(name, text, 0)
	if err == nil {
		err = resolve.File(tree, func(name string) bool { return !starlark.Universe.Has(name) }, starlark.Universe.Has)
	}
	return tree, err
}

func newModule(path string, tree *syntax.File) *module {
	m := &module{path: path, names: map[string]bool{}, functions: map[string]*syntax.DefStmt{}, members: map[string]string{}, loads: map[string]loaded{}}
	for _, b := range tree.Module.(*resolve.Module).Globals {
		m.names[b.First.Name] = true
	}
	for _, s := range tree.Stmts {
		switch s := s.(type) {
		case *syntax.DefStmt:
			m.functions[s.Name.Name] = s
		case *syntax.AssignStmt:
			m.assign(s)
		case *syntax.LoadStmt:
			for i, to := range s.To {
				m.loads[to.Name] = loaded{s.ModuleName(), s.From[i].Name}
			}
		}
	}
	for name, times := range assigned(tree) {
		if times > 1 { // which of them is called is not known
			delete(m.functions, name)
			delete(m.members, name)
		}
	}
	return m
}

// assigned returns how often each name is given a value at the top level.
func assigned(tree *syntax.File) map[string]int {
	times := map[string]int{}
	syntax.Walk(tree, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DefStmt:
			times[n.Name.Name]++
			return false
		case *syntax.AssignStmt:
			for _, id := range targetsOf(n.LHS) {
				times[id.Name]++
			}
		case *syntax.ForStmt:
			for _, id := range targetsOf(n.Vars) {
				times[id.Name]++
			}
		}
		return true
	})
	return times
}

// assign notes x = y, and the members of x = struct(y = z).
func (m *module) assign(s *syntax.AssignStmt) {
	id, ok := s.LHS.(*syntax.Ident)
	if !ok {
		return
	}
	if other := dotted(s.RHS); other != "" {
		m.members[id.Name] = other
		return
	}
	call, ok := s.RHS.(*syntax.CallExpr)
	if !ok {
		return
	}
	if name, _ := calleeOf(call); name != "struct" {
		return
	}
	for _, a := range call.Args {
		kv, ok := a.(*syntax.BinaryExpr)
		if !ok || kv.Op != syntax.EQ {
			continue
		}
		key, isName := kv.X.(*syntax.Ident)
		if value := dotted(kv.Y); value != "" && isName {
			m.members[id.Name+"."+key.Name] = value
		}
	}
}

// dotted returns a name such as "apt" or "apt.install", or "".
func dotted(x syntax.Expr) string {
	switch x := x.(type) {
	case *syntax.Ident:
		return x.Name
	case *syntax.DotExpr:
		if head := dotted(x.X); head != "" {
			return head + "." + x.Name.Name
		}
	}
	return ""
}

// mostNames bounds how many other names of a function are followed.
const mostNames = 16

// function returns the function that is called name in a module. open returns the module
// that one loads, or nil.
func (m *module) function(name string, open func(from, name string) *module) *syntax.DefStmt {
	for range mostNames {
		if m == nil || m.broken {
			return nil
		}
		if def, ok := m.functions[name]; ok {
			return def
		}
		head, _, _ := strings.Cut(name, ".")
		rest := strings.TrimPrefix(name, head)
		if other, ok := m.members[name]; ok {
			name = other
		} else if other, ok := m.members[head]; ok {
			name = other + rest
		} else if l, ok := m.loads[head]; ok {
			m, name = open(m.path, l.module), l.name+rest
		} else {
			return nil
		}
	}
	return nil
}
