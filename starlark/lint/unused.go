package lint

import (
	"bytes"
	"fmt"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"
)

func unusedLoad() Rule {
	return Rule{
		Name: "unused-load", Severity: Warning,
		Doc: "A name is loaded and never used. A loaded name belongs to its file alone: no other file gets it from there.",
		Wrong: `load("@bake//debian.star", "apt", "clean")

m = clean(source(rootfs(), debian = "bookworm"))
export(m, "web", formats = ["tar"])`,
		Right: `load("@bake//debian.star", "clean")

m = clean(source(rootfs(), debian = "bookworm"))
export(m, "web", formats = ["tar"])`,
		Fix: "removes the name; the whole load only of the shipped library, since another file may define artifacts",
		check: func(p *pass) {
			for _, s := range p.stmts() {
				if load, ok := s.(*syntax.LoadStmt); ok {
					p.checkLoad(load)
				}
			}
		},
	}
}

// stmts returns the statements of the top level.
func (f *file) stmts() []syntax.Stmt {
	if f.tree == nil {
		return nil
	}
	return f.tree.Stmts
}

func (p *pass) checkLoad(load *syntax.LoadStmt) {
	unused := 0
	for _, to := range load.To {
		if !p.used(to) {
			unused++
		}
	}
	whole := unused == len(load.To)
	for i, to := range load.To {
		if p.used(to) {
			continue
		}
		start, end := p.loadSpan(load, i)
		var fix []Edit
		switch {
		case whole && i == 0 && strings.HasPrefix(load.ModuleName(), "@bake//"):
			from, to := p.span(load)
			from, to = p.lineRange(from, to)
			fix = []Edit{{Path: p.path, Start: from, End: to}}
		case !whole:
			fix = []Edit{p.cutArgument(start, end)}
		}
		p.found(p.source, start, end, fmt.Sprintf("%s is loaded and not used", to.Name), "", fix...)
	}
}

// loadSpan returns the bytes of what a load binds as name i.
func (p *pass) loadSpan(load *syntax.LoadStmt, i int) (start, end int) {
	start, end = p.offset(load.To[i].NamePos), p.offset(load.From[i].NamePos)
	for start > 0 && (p.text[start-1] == '"' || p.text[start-1] == '\'') {
		start--
	}
	for end < len(p.text) && (p.text[end] == '"' || p.text[end] == '\'') {
		end++
	}
	if n := bytes.IndexAny(p.text[end:], `"'`); n >= 0 {
		end += n + 1
	}
	return start, end
}

// cutArgument removes an argument with the comma that belongs to it.
func (p *pass) cutArgument(start, end int) Edit {
	after := end + len(p.text[end:]) - len(bytes.TrimLeft(p.text[end:], " \t\r\n"))
	if after < len(p.text) && p.text[after] == ',' {
		end = after + 1
		rest := p.text[end:]
		end += len(rest) - len(bytes.TrimLeft(rest, " \t"))
		if end < len(p.text) && p.text[end] == '\n' { // it has a line of its own
			if from, to := p.lineRange(start, end); len(bytes.TrimSpace(p.text[from:start])) == 0 {
				start, end = from, to
			}
		}
		return Edit{Path: p.path, Start: start, End: end}
	}
	before := bytes.TrimRight(p.text[:start], " \t\r\n")
	if bytes.HasSuffix(before, []byte(",")) {
		start = len(before) - 1
	}
	return Edit{Path: p.path, Start: start, End: end}
}

func unusedArgument() Rule {
	return Rule{
		Name: "unused-argument", Severity: Warning,
		Doc: "A function has a parameter that it never uses: what a caller gives there has no effect. The name of one that is meant to be ignored begins with \"_\".",
		Wrong: `def web(base, port):
    return shell(base, "systemctl enable nginx")

export(web(source(rootfs(), debian = "bookworm"), 80), "web", formats = ["tar"])`,
		Right: `def web(base, port):
    return shell(base, "systemctl enable nginx", env = {"PORT": str(port)})

export(web(source(rootfs(), debian = "bookworm"), 80), "web", formats = ["tar"])`,
		check: func(p *pass) {
			p.each(func(n syntax.Node) {
				if def, ok := n.(*syntax.DefStmt); ok && !isStub(def) {
					p.checkParams(def)
				}
			})
		},
	}
}

// each calls visit for each node of a definition.
func (f *file) each(visit func(syntax.Node)) {
	if f.tree == nil {
		return
	}
	syntax.Walk(f.tree, func(n syntax.Node) bool {
		if n != nil {
			visit(n)
		}
		return true
	})
}

func (p *pass) checkParams(def *syntax.DefStmt) {
	for i, param := range def.Params {
		id := paramOf(param)
		switch {
		case id == nil || p.used(id) || strings.HasPrefix(id.Name, "_"):
		case i == 0 && strings.HasPrefix(def.Name.Name, "test_"): // that tests are called with
		default:
			start, end := p.span(id)
			p.found(p.source, start, end, fmt.Sprintf("%s: the parameter %s is not used", def.Name.Name, id.Name), "")
		}
	}
}

// isStub reports whether a function does nothing or only fails.
func isStub(def *syntax.DefStmt) bool {
	for _, s := range def.Body {
		switch s := s.(type) {
		case *syntax.BranchStmt:
		case *syntax.ExprStmt:
			call, ok := s.X.(*syntax.CallExpr)
			if _, isText := stringOf(s.X); isText {
				continue
			}
			if name := ""; ok {
				if name, _ = calleeOf(call); name == "fail" {
					continue
				}
			}
			return false
		case *syntax.ReturnStmt:
			if _, isText := s.Result.(*syntax.Literal); s.Result != nil && !isText {
				if id, ok := s.Result.(*syntax.Ident); !ok || id.Name != "None" {
					return false
				}
			}
		default:
			return false
		}
	}
	return true
}

func unusedParam() Rule {
	return Rule{
		Name: "unused-param", Severity: Warning,
		Doc: "A definition declares a parameter with param() and never uses its value: -p has no effect.",
		Wrong: `release = param("release", default = "dev")

m = source(rootfs(), debian = "bookworm")
export(m, "web", formats = ["tar"])`,
		Right: `release = param("release", default = "dev")

m = source(rootfs(), debian = "bookworm")
m = write(m, "/etc/image-release", release)
export(m, "web", formats = ["tar"])`,
		check: func(p *pass) {
			p.each(func(n syntax.Node) {
				s, ok := n.(*syntax.AssignStmt)
				if !ok || s.Op != syntax.EQ {
					return
				}
				id, ok := s.LHS.(*syntax.Ident)
				call, isCall := unparen(s.RHS).(*syntax.CallExpr)
				if !ok || !isCall || p.used(id) || p.linter.loaded(id.Name) {
					return
				}
				if name, own := calleeOf(call); own && name == "param" {
					start, end := p.span(id)
					p.found(p.source, start, end, fmt.Sprintf("the parameter %s is not used", id.Name), "")
				}
			})
		},
	}
}

func unusedVariable() Rule {
	return Rule{
		Name: "unused-variable", Severity: Warning,
		Doc: "A function gives a variable a value and never uses it. The name of one that is meant to be ignored begins with \"_\".",
		Wrong: `def web(base):
    page = read_file("index.html")
    return write(base, "/var/www/html/index.html", "hello")

export(web(source(rootfs(), debian = "bookworm")), "web", formats = ["tar"])`,
		Right: `def web(base):
    page = read_file("index.html")
    return write(base, "/var/www/html/index.html", page)

export(web(source(rootfs(), debian = "bookworm")), "web", formats = ["tar"])`,
		check: func(p *pass) {
			p.each(func(n syntax.Node) {
				s, ok := n.(*syntax.AssignStmt)
				if !ok || s.Op != syntax.EQ {
					return
				}
				id, ok := s.LHS.(*syntax.Ident) // of several names at once, some are often ignored
				if !ok || strings.HasPrefix(id.Name, "_") || p.used(id) || !isLocal(id) {
					return
				}
				if call, ok := unparen(s.RHS).(*syntax.CallExpr); ok {
					if name, own := calleeOf(call); own && name == "param" {
						return // told by unused-param
					}
				}
				if _, layer := p.makesLayer(s.RHS); layer {
					return // told by dropped-layer
				}
				start, end := p.span(id)
				p.found(p.source, start, end, fmt.Sprintf("the variable %s is not used", id.Name), "")
			})
		},
	}
}

func isLocal(id *syntax.Ident) bool {
	b := bindingOf(id)
	return b != nil && (b.Scope == resolve.Local || b.Scope == resolve.Cell)
}
