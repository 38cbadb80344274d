package module

import (
	"strings"

	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
	"go.starlark.net/syntax"
)

// A Load is a load statement of a Starlark file.
type Load struct {
	Name string // as it stands there
	Pos  plan.Pos
}

// Module returns the name of the module that is loaded from, or "" for the project's
// own files.
func (l Load) Module() string {
	name, _, _ := strings.Cut(l.Name, "//")
	name, ok := strings.CutPrefix(name, "@")
	if !ok {
		return ""
	}
	return name
}

// Loads lists what a Starlark file loads, which positions show as name. What is wrong
// with it is a syntax.Error.
func Loads(name string, text []byte) ([]Load, error) {
	tree, err := eval.Dialect().Parse(name, text, 0)
	if err != nil {
		return nil, err
	}
	var loads []Load
	for _, stmt := range tree.Stmts {
		if load, ok := stmt.(*syntax.LoadStmt); ok {
			p := load.Module.TokenPos
			loads = append(loads, Load{load.ModuleName(), plan.Pos{File: name, Line: int(p.Line), Col: int(p.Col)}})
		}
	}
	return loads, nil
}
