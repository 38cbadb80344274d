package doc

import (
	"slices"
	"strings"

	"bake.build/bake/starlark/eval"
	"go.starlark.net/syntax"
)

// A File is the documentation of one Starlark file.
type File struct {
	Name string    `json:"name"` // as load names it
	Doc  Docstring `json:"doc"`

	// Visibility is what the file gives to visibility, as it is written: who may load it.
	// It is empty for a file that everybody may load.
	Visibility []string `json:"visibility,omitempty"`

	// Symbols are what other files can load, members of structs included, in the
	// order of the file.
	Symbols []Symbol `json:"symbols"`

	loads map[string]loaded // by the name here
	defs  map[string]Symbol // functions of any name
}

type loaded struct{ file, name string }

// The kinds of symbols.
const (
	Function = "function"
	Value    = "value"
)

// A Symbol is one name of a file: a function, or another value.
type Symbol struct {
	Name   string    `json:"name"` // "user", or "apt.install" of a struct
	Kind   string    `json:"kind"` // Function or Value
	Params []Param   `json:"params,omitempty"`
	Value  string    `json:"value,omitempty"` // what a Value is, as the file has it
	Doc    Docstring `json:"doc"`
	File   string    `json:"file"` // where it is defined
	Line   int       `json:"line"`

	returns bool   // whether a return statement gives a value
	private string // the name of the function behind a member of a struct
	member  string // of the loaded struct private that the symbol stands for, such as ".add"
}

// A Param is a parameter of a function.
type Param struct {
	Name    string `json:"name"` // with the stars of *args and **kwargs; "*" parts keywords
	Default string `json:"default,omitempty"`
	Keyword bool   `json:"keyword,omitempty"` // cannot be given by position
}

// Signature shows how a function is called, in one line.
func (s Symbol) Signature() string {
	params := make([]string, len(s.Params))
	for i, p := range s.Params {
		params[i] = p.Name
		if p.Default != "" {
			params[i] += " = " + p.Default
		}
	}
	return s.Name + "(" + strings.Join(params, ", ") + ")"
}

// Parse reads a file, which errors and load statements call name.
func Parse(name string, text []byte) (*File, error) {
	tree, err := eval.Dialect().Parse(name, text, syntax.RetainComments)
	if err != nil {
		return nil, err
	}
	f := &File{Name: name, Doc: docOf(tree.Stmts), loads: map[string]loaded{}, defs: map[string]Symbol{}}
	for _, s := range tree.Stmts {
		switch s := s.(type) {
		case *syntax.DefStmt:
			f.defs[s.Name.Name] = f.function(s)
		case *syntax.LoadStmt:
			for i := range s.To {
				f.loads[s.To[i].Name] = loaded{s.ModuleName(), s.From[i].Name}
			}
		}
	}
	for _, s := range tree.Stmts {
		switch s := s.(type) {
		case *syntax.DefStmt:
			if public(s.Name.Name) {
				f.Symbols = append(f.Symbols, f.defs[s.Name.Name])
			}
		case *syntax.AssignStmt:
			f.assign(s)
		case *syntax.ExprStmt:
			if specs, ok := visibility(s.X); ok {
				f.Visibility = specs
			}
		}
	}
	return f, nil
}

// visibility returns who may load the file that has x as a statement. ok is false where x
// says nothing of it, or that everybody may.
func visibility(x syntax.Expr) (specs []string, ok bool) {
	call, ok := x.(*syntax.CallExpr)
	if !ok || len(call.Args) != 1 {
		return nil, false
	}
	if fn, ok := call.Fn.(*syntax.Ident); !ok || fn.Name != "visibility" {
		return nil, false
	}
	arg := call.Args[0]
	if named, ok := arg.(*syntax.BinaryExpr); ok && named.Op == syntax.EQ {
		arg = named.Y
	}
	list := []syntax.Expr{arg}
	if l, ok := arg.(*syntax.ListExpr); ok {
		list = l.List
	}
	for _, x := range list {
		if lit, ok := x.(*syntax.Literal); ok && lit.Token == syntax.STRING {
			specs = append(specs, lit.Value.(string))
		} else {
			specs = append(specs, expression(x))
		}
	}
	if len(specs) == 0 {
		specs = []string{"private"}
	}
	return specs, !slices.Equal(specs, []string{"public"})
}

func public(name string) bool { return !strings.HasPrefix(name, "_") }

func (f *File) function(s *syntax.DefStmt) Symbol {
	x := Symbol{
		Name: s.Name.Name, Kind: Function, Params: params(s.Params), Doc: docOf(s.Body),
		File: f.Name, Line: int(s.Def.Line), returns: returns(s.Body),
	}
	return x
}

// assign adds what NAME = … makes known: another name of a function, the functions of
// struct(install = _install, …), or a value.
func (f *File) assign(s *syntax.AssignStmt) {
	name, ok := s.LHS.(*syntax.Ident)
	if !ok || s.Op != syntax.EQ || !public(name.Name) {
		return
	}
	line := int(name.NamePos.Line)
	if call, ok := s.RHS.(*syntax.CallExpr); ok && isStruct(call) {
		for _, arg := range call.Args {
			if pair, ok := arg.(*syntax.BinaryExpr); ok && pair.Op == syntax.EQ {
				if member, ok := pair.X.(*syntax.Ident); ok && public(member.Name) {
					f.name(name.Name+"."+member.Name, pair.Y, int(member.NamePos.Line), "")
				}
			}
		}
		return
	}
	f.name(name.Name, s.RHS, line, comment(s))
}

func isStruct(call *syntax.CallExpr) bool {
	fn, ok := call.Fn.(*syntax.Ident)
	return ok && fn.Name == "struct"
}

// name adds the symbol name for what x stands for.
func (f *File) name(name string, x syntax.Expr, line int, comment string) {
	if id, ok := x.(*syntax.Ident); ok {
		if def, ok := f.defs[id.Name]; ok {
			def.Name, def.private = name, id.Name
			f.Symbols = append(f.Symbols, def)
			return
		}
		if _, ok := f.loads[id.Name]; ok {
			f.Symbols = append(f.Symbols, Symbol{Name: name, Kind: Value, Value: id.Name, File: f.Name, Line: line, private: id.Name})
			return
		}
	}
	if dot, ok := x.(*syntax.DotExpr); ok { // a member of a struct of another file
		if id, ok := dot.X.(*syntax.Ident); ok && f.loads[id.Name].file != "" {
			f.Symbols = append(f.Symbols, Symbol{Name: name, Kind: Value, Value: expression(x), File: f.Name, Line: line, private: id.Name, member: "." + dot.Name.Name})
			return
		}
	}
	for i := range f.Symbols { // assigned once more
		if f.Symbols[i].Name == name {
			return
		}
	}
	f.Symbols = append(f.Symbols, Symbol{
		Name: name, Kind: Value, Value: expression(x), File: f.Name, Line: line,
		Doc: parseDocstring(comment, 0),
	})
}

// Link completes symbols that f takes from other files: functions, structs of them and
// members of such structs that were loaded. find returns the file that from loads as
// name, or nil.
func (f *File) Link(find func(from, name string) *File) {
	var all []Symbol
	for _, s := range f.Symbols {
		if found := f.loaded(s, find); len(found) > 0 {
			all = append(all, found...)
		} else {
			all = append(all, s)
		}
	}
	f.Symbols = all
}

// loaded returns what the symbol s stands for in the file that f has it from.
func (f *File) loaded(s Symbol, find func(from, name string) *File) (found []Symbol) {
	l, ok := f.loads[s.private]
	if !ok || s.Kind != Value {
		return nil
	}
	other := find(f.Name, l.file)
	if other == nil || other == f {
		return nil
	}
	for _, o := range other.Symbols {
		if rest, ok := strings.CutPrefix(o.Name, l.name+s.member); ok && (rest == "" || rest[0] == '.') {
			o.Name = s.Name + rest
			found = append(found, o)
		}
	}
	return found
}

// comment returns the comment that stands right above a statement.
func comment(s syntax.Stmt) string {
	c := s.Comments()
	if c == nil {
		return ""
	}
	start, _ := s.Span()
	var lines []string
	next := start.Line
	for i := len(c.Before) - 1; i >= 0 && c.Before[i].Start.Line == next-1; i-- {
		lines = append([]string{strings.TrimPrefix(strings.TrimPrefix(c.Before[i].Text, "#"), " ")}, lines...)
		next--
	}
	return strings.Join(lines, "\n")
}

// docOf returns the docstring that a body begins with.
func docOf(body []syntax.Stmt) Docstring {
	if len(body) == 0 {
		return Docstring{}
	}
	s, ok := body[0].(*syntax.ExprStmt)
	if !ok {
		return Docstring{}
	}
	lit, ok := s.X.(*syntax.Literal)
	if !ok || lit.Token != syntax.STRING {
		return Docstring{}
	}
	text := lit.Value.(string)
	d := parseDocstring(text, int(lit.TokenPos.Line))
	d.escaped = strings.Count(text, "\n") > strings.Count(lit.Raw, "\n")
	return d
}

// returns reports whether a body returns a value, functions within it left out.
func returns(body []syntax.Stmt) bool {
	found := false
	for _, s := range body {
		syntax.Walk(s, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.DefStmt, *syntax.LambdaExpr:
				return false
			case *syntax.ReturnStmt:
				id, isName := n.Result.(*syntax.Ident)
				found = found || n.Result != nil && !(isName && id.Name == "None")
			}
			return !found
		})
	}
	return found
}
