package reference

import (
	"fmt"
	"io/fs"
	"strings"

	"bake.build/bake/starlark/eval"
	"go.starlark.net/syntax"
)

// library writes what the files of the library offer: their functions and
// structs of functions.
func (p *page) library(std fs.FS) error {
	files, err := fs.Glob(std, "*.star")
	if err != nil {
		return err
	}
	p.block("## Library")
	p.block("Files that are shipped with bake, for `load`.")
	for _, name := range files {
		text, err := fs.ReadFile(std, name)
		if err != nil {
			return err
		}
		f, err := eval.Dialect().Parse(name, text, 0)
		if err != nil {
			return err
		}
		p.module(name, f)
	}
	return nil
}

func (p *page) module(name string, f *syntax.File) {
	p.block("### @bake//%s", name)
	if doc := docstring(f.Stmts); doc != "" {
		p.block("%s", doc)
	}
	defs := map[string]*syntax.DefStmt{}
	for _, s := range f.Stmts {
		if d, ok := s.(*syntax.DefStmt); ok {
			defs[d.Name.Name] = d
		}
	}
	for _, s := range f.Stmts {
		switch s := s.(type) {
		case *syntax.DefStmt:
			if !strings.HasPrefix(s.Name.Name, "_") {
				p.function(s.Name.Name, s)
			}
		case *syntax.AssignStmt:
			p.members(s, defs)
		}
	}
}

// members writes the functions of apt = struct(install = _install, …).
func (p *page) members(s *syntax.AssignStmt, defs map[string]*syntax.DefStmt) {
	name, ok := s.LHS.(*syntax.Ident)
	call, isCall := s.RHS.(*syntax.CallExpr)
	if !ok || !isCall || strings.HasPrefix(name.Name, "_") {
		return
	}
	if fn, ok := call.Fn.(*syntax.Ident); !ok || fn.Name != "struct" {
		return
	}
	for _, a := range call.Args {
		pair, ok := a.(*syntax.BinaryExpr)
		if !ok || pair.Op != syntax.EQ {
			continue
		}
		member, ok := pair.X.(*syntax.Ident)
		value, isName := pair.Y.(*syntax.Ident)
		if !ok || !isName || defs[value.Name] == nil {
			continue
		}
		p.function(name.Name+"."+member.Name, defs[value.Name])
	}
}

func (p *page) function(name string, d *syntax.DefStmt) {
	params := make([]string, len(d.Params))
	for i, x := range d.Params {
		params[i] = expression(x)
	}
	p.block("#### %s", name)
	p.block("```python\n%s(%s)\n```", name, strings.Join(params, ", "))
	if doc := docstring(d.Body); doc != "" {
		p.block("%s", doc)
	}
}

// expression shows a parameter and its default.
func expression(x syntax.Expr) string {
	switch x := x.(type) {
	case nil:
		return ""
	case *syntax.Ident:
		return x.Name
	case *syntax.Literal:
		return x.Raw
	case *syntax.BinaryExpr:
		if x.Op == syntax.EQ {
			return expression(x.X) + " = " + expression(x.Y)
		}
		return expression(x.X) + " " + x.Op.String() + " " + expression(x.Y)
	case *syntax.UnaryExpr:
		return x.Op.String() + expression(x.X)
	case *syntax.ListExpr:
		return "[" + expressions(x.List) + "]"
	case *syntax.TupleExpr:
		return "(" + expressions(x.List) + ")"
	case *syntax.ParenExpr:
		return "(" + expression(x.X) + ")"
	case *syntax.DictExpr:
		return "{" + expressions(x.List) + "}"
	case *syntax.DictEntry:
		return expression(x.Key) + ": " + expression(x.Value)
	}
	return "…"
}

func expressions(list []syntax.Expr) string {
	texts := make([]string, len(list))
	for i, x := range list {
		texts[i] = expression(x)
	}
	return strings.Join(texts, ", ")
}

// docstring returns the string that body begins with, as Markdown: without
// indentation, and with its list of arguments as a list.
func docstring(body []syntax.Stmt) string {
	if len(body) == 0 {
		return ""
	}
	s, ok := body[0].(*syntax.ExprStmt)
	if !ok {
		return ""
	}
	lit, ok := s.X.(*syntax.Literal)
	if !ok || lit.Token != syntax.STRING {
		return ""
	}
	return markdown(lit.Value.(string))
}

// markdown turns a docstring into Markdown. The sections "Args:" and "Returns:"
// hold indented lines; an argument is "name: what it is", and lines that are
// indented further continue it.
func markdown(doc string) string {
	var out []string
	section, margin := false, -1
	for _, line := range strings.Split(strings.TrimSpace(doc), "\n") {
		text := strings.TrimSpace(line)
		indent := len(line) - len(strings.TrimLeft(line, " "))
		switch {
		case text == "Args:" || text == "Returns:" || text == "Example:":
			section, margin = text != "Example:", -1
			out = append(out, strings.TrimSuffix(text, ":")+":", "")
			continue
		case text == "":
			section = false
		case section && margin < 0:
			margin = indent
			fallthrough
		case section && indent <= margin:
			name, help, ok := strings.Cut(text, ": ")
			if ok && !strings.Contains(name, " ") {
				text = fmt.Sprintf("`%s`: %s", name, help)
			}
			text = "- " + text
		case section:
			text = "  " + text
		}
		out = append(out, text)
	}
	return strings.Join(out, "\n")
}
