package lint

import (
	"strings"

	"go.starlark.net/syntax"

	"bake.build/bake/starlark/eval"
)

// A module is what is known of a file: which names are which functions.
type module struct {
	path      string                     // by which it is opened
	functions map[string]*syntax.DefStmt // by name
	members   map[string]string          // of a name, or a struct's member as in "apt.install": what else it is called
	loads     map[string]loaded          // by the name that they have in the file
}

// A loaded is a name of another module.
type loaded struct{ module, name string }

// readModule reads a file that others load. One that has mistakes has nothing.
func readModule(path string, text []byte) *module {
	tree, err := eval.Dialect().Parse(path, text, 0)
	if err != nil {
		tree = &syntax.File{}
	}
	return newModule(path, tree)
}

func newModule(path string, tree *syntax.File) *module {
	m := &module{path: path, functions: map[string]*syntax.DefStmt{}, members: map[string]string{}, loads: map[string]loaded{}}
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
	return m
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
func (m *module) function(name string, open func(from, module string) *module) *syntax.DefStmt {
	for range mostNames {
		if m == nil {
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
