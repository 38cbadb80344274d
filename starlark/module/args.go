package module

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"bake.build/bake/internal/spell"
	"go.starlark.net/syntax"
)

// A parameter of a function of bake.mod. All are strings.
type parameter struct {
	name     string
	required bool
	keyword  bool // not given by position
}

var parameters = map[string][]parameter{
	"module":  {{name: "path", required: true}},
	"require": {{name: "path", required: true}, {name: "version"}, {name: "source", required: true, keyword: true}, {name: "name", keyword: true}},
	"replace": {{name: "path", required: true}, {name: "source", required: true, keyword: true}, {name: "version", keyword: true}, {name: "only", keyword: true}},
	"exclude": {{name: "path", required: true}, {name: "version", required: true}},
}

// An args holds the arguments of a call.
type args struct {
	call   *syntax.CallExpr
	pos    syntax.Position
	values map[string]*syntax.Literal
}

func (a *args) get(name string) string {
	if l := a.values[name]; l != nil {
		return l.Value.(string)
	}
	return ""
}

// An argError is what is wrong with one argument.
type argError struct {
	name string
	err  error
}

func (e *argError) Error() string { return e.err.Error() }
func (e *argError) Unwrap() error { return e.err }

func (a *args) fault(name string, err error) error { return &argError{name, err} }

// at returns the position that err is to be shown at.
func (a *args) at(err error) syntax.Position {
	var arg *argError
	if errors.As(err, &arg) {
		if l := a.values[arg.name]; l != nil {
			return l.TokenPos
		}
	}
	return a.pos
}

// readArgs reads the arguments of a call of the function fn.
func readArgs(call *syntax.CallExpr, fn string) (*args, error) {
	start, _ := call.Span()
	a := &args{call: call, pos: start, values: map[string]*syntax.Literal{}}
	params := parameters[fn]
	var names []string
	for _, p := range params {
		names = append(names, p.name)
	}
	for i, arg := range call.Args {
		at, _ := arg.Span()
		fault := func(format string, v ...any) error {
			return syntax.Error{Pos: at, Msg: fn + ": " + fmt.Sprintf(format, v...)}
		}
		key, value := "", arg
		if b, ok := arg.(*syntax.BinaryExpr); ok && b.Op == syntax.EQ {
			key, value = b.X.(*syntax.Ident).Name, b.Y
			if !slices.Contains(names, key) {
				return nil, fault("unknown keyword %q%s", key, spell.Hint(key, "keywords", names))
			}
		} else if i < len(params) && !params[i].keyword {
			key = params[i].name
		} else {
			return nil, fault("too many arguments by position; the others are given by keyword (keywords: %s)", strings.Join(names, ", "))
		}
		lit, ok := value.(*syntax.Literal)
		if !ok || lit.Token != syntax.STRING {
			return nil, fault("%s: want a string as it stands, since bake.mod is read and not run", key)
		}
		if a.values[key] != nil {
			return nil, fault("%s: given twice", key)
		}
		a.values[key] = lit
	}
	for _, p := range params {
		if p.required && a.values[p.name] == nil {
			return nil, syntax.Error{Pos: start, Msg: fmt.Sprintf("%s: %s is missing", fn, p.name)}
		}
	}
	return a, nil
}
