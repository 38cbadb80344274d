package lint

import (
	"go.starlark.net/syntax"

	"bake.build/bake/starlark/eval"
)

// newModule reads the functions of a file, and which of them its structs hold.
func newModule(name string, text []byte) *module {
	m := &module{functions: map[string]*syntax.DefStmt{}, members: map[string]string{}}
	tree, err := eval.Dialect().Parse(name, text, 0)
	if err != nil {
		return m
	}
	for _, s := range tree.Stmts {
		switch s := s.(type) {
		case *syntax.DefStmt:
			m.functions[s.Name.Name] = s
		case *syntax.AssignStmt:
			m.addStruct(s)
		}
	}
	return m
}

// addStruct notes the members of x = struct(y = z).
func (m *module) addStruct(s *syntax.AssignStmt) {
	id, ok := s.LHS.(*syntax.Ident)
	call, isCall := s.RHS.(*syntax.CallExpr)
	if !ok || !isCall {
		if other, isName := s.RHS.(*syntax.Ident); ok && isName {
			m.members[id.Name] = other.Name
		}
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
		if value, ok := kv.Y.(*syntax.Ident); ok && isName {
			m.members[id.Name+"."+key.Name] = value.Name
		}
	}
}
