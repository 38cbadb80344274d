package lint

import (
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"
)

// calleeOf returns the name of what a call calls: that of a function of the language,
// or of what the file has defined or loaded, such as "shell" or "apt.install". own
// says that it is a function of the language.
func calleeOf(call *syntax.CallExpr) (name string, own bool) {
	switch fn := unparen(call.Fn).(type) {
	case *syntax.Ident:
		b := bindingOf(fn)
		return fn.Name, b != nil && b.Scope == resolve.Predeclared
	case *syntax.DotExpr:
		if id, ok := unparen(fn.X).(*syntax.Ident); ok {
			return id.Name + "." + fn.Name.Name, false
		}
	}
	return "", false
}

// argument returns the argument of a call with this keyword, or at this position when
// it is not negative, or nil.
func argument(call *syntax.CallExpr, keyword string, position int) syntax.Expr {
	at := 0
	for _, a := range call.Args {
		if b, ok := a.(*syntax.BinaryExpr); ok && b.Op == syntax.EQ {
			if id, ok := b.X.(*syntax.Ident); ok && id.Name == keyword {
				return b.Y
			}
			continue
		}
		if u, ok := a.(*syntax.UnaryExpr); ok && (u.Op == syntax.STAR || u.Op == syntax.STARSTAR) {
			continue
		}
		if at == position {
			return a
		}
		at++
	}
	return nil
}

// stringOf returns the value of a string that is written as one literal.
func stringOf(x syntax.Expr) (string, bool) {
	lit, ok := unparen(x).(*syntax.Literal)
	if x == nil || !ok || lit.Token != syntax.STRING {
		return "", false
	}
	s, ok := lit.Value.(string)
	return s, ok
}

// stringsOf returns the elements of a list of literals, or a literal by itself.
func stringsOf(x syntax.Expr) []string {
	if x == nil {
		return nil
	}
	if s, ok := stringOf(x); ok {
		return []string{s}
	}
	var all []string
	if list, ok := unparen(x).(*syntax.ListExpr); ok {
		for _, e := range list.List {
			if s, ok := stringOf(e); ok {
				all = append(all, s)
			}
		}
	}
	return all
}

// moduleOf reads a module that the file at path loads.
func (l *Linter) moduleOf(path, name string) (*module, error) {
	if l.Read == nil {
		return nil, ErrUnseen
	}
	b, at, err := l.Read(path, name)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m, ok := l.modules[at]; ok {
		return m, nil
	}
	if l.modules == nil {
		l.modules = map[string]*module{}
	}
	l.modules[at] = readModule(at, b)
	return l.modules[at], nil
}

// definition returns the function that a call calls, one of the file itself or of a
// module that it loads, or nil.
func (f *file) definition(call *syntax.CallExpr) *syntax.DefStmt {
	fn := unparen(call.Fn)
	for {
		dot, ok := fn.(*syntax.DotExpr)
		if !ok {
			break
		}
		fn = unparen(dot.X)
	}
	id, ok := fn.(*syntax.Ident)
	if !ok || !f.isTop(id) {
		return nil
	}
	if f.own == nil {
		f.own = newModule(f.path, f.tree)
	}
	name, _ := calleeOf(call)
	return f.own.function(name, func(from, module string) *module {
		m, err := f.linter.moduleOf(from, module)
		if err != nil {
			return nil
		}
		return m
	})
}

// isTop reports whether a name is that of a variable of the top level, or is loaded.
func (f *file) isTop(id *syntax.Ident) bool {
	b := bindingOf(id)
	if b == nil || b.First == nil {
		return false
	}
	if b.Scope == resolve.Global {
		return true
	}
	for _, s := range f.tree.Stmts {
		if load, ok := s.(*syntax.LoadStmt); ok && slices.Contains(load.To, b.First) {
			return true
		}
	}
	return false
}

// docOf returns the docstring of a function, or "".
func docOf(def *syntax.DefStmt) string {
	if def == nil || len(def.Body) == 0 {
		return ""
	}
	if s, ok := def.Body[0].(*syntax.ExprStmt); ok {
		text, _ := stringOf(s.X)
		return text
	}
	return ""
}

// section returns the lines below a heading such as "Returns:" of a docstring.
func section(doc, heading string) string {
	var b strings.Builder
	inside, indent := false, 0
	for line := range strings.Lines(doc) {
		text := strings.TrimSpace(line)
		margin := len(line) - len(strings.TrimLeft(line, " \t"))
		switch {
		case strings.HasPrefix(text, heading):
			inside, indent = true, margin
			b.WriteString(strings.TrimSpace(strings.TrimPrefix(text, heading)) + "\n")
		case inside && text != "" && margin <= indent:
			return b.String()
		case inside:
			b.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
	}
	return b.String()
}

// makesLayer reports whether a call returns a layer, as far as that is known: by a
// function of the language, or one whose docstring says so.
func (f *file) makesLayer(x syntax.Expr) (name string, ok bool) {
	call, isCall := unparen(x).(*syntax.CallExpr)
	if !isCall {
		return "", false
	}
	name, own := calleeOf(call)
	if own {
		return name, f.linter.Language.Functions[name].Layer
	}
	if name == "" {
		return "", false
	}
	return name, strings.Contains(section(docOf(f.definition(call)), "Returns:"), "layer")
}
