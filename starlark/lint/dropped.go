package lint

import (
	"fmt"
	"strings"

	"go.starlark.net/syntax"
)

func droppedLayer() Rule {
	return Rule{
		Name: "dropped-layer", Severity: Warning,
		Doc: "A step's layer is never used. Steps change no layer, they return a new one: without m = shell(m, …) what the step does is in no image.",
		Wrong: `m = source(rootfs(), debian = "bookworm")
shell(m, "systemctl enable nginx")
export(m, "web", formats = ["tar"])`,
		Right: `m = source(rootfs(), debian = "bookworm")
m = shell(m, "systemctl enable nginx")
export(m, "web", formats = ["tar"])`,
		check: func(p *pass) {
			if p.tree == nil {
				return
			}
			p.checkDropped(p.tree.Stmts, p.hasTargets())
			p.each(func(n syntax.Node) {
				switch n := n.(type) {
				case *syntax.DefStmt:
					p.checkDropped(n.Body, true)
				case *syntax.ForStmt:
					p.checkDropped(n.Body, false)
				case *syntax.IfStmt:
					p.checkDropped(n.True, false)
					p.checkDropped(n.False, false)
				}
			})
		},
	}
}

// hasTargets reports whether the file exports or tests something at the top level, and
// so is no library.
func (f *file) hasTargets() bool {
	for _, s := range f.tree.Stmts {
		x, ok := syntax.Expr(nil), false
		switch s := s.(type) {
		case *syntax.ExprStmt:
			x, ok = s.X, true
		case *syntax.AssignStmt:
			x, ok = s.RHS, true
		}
		if call, isCall := unparenCall(x); ok && isCall {
			if name, own := calleeOf(call); own && (name == "export" || name == "test") {
				return true
			}
		}
	}
	return false
}

func unparenCall(x syntax.Expr) (*syntax.CallExpr, bool) {
	if x == nil {
		return nil, false
	}
	call, ok := unparen(x).(*syntax.CallExpr)
	return call, ok
}

// checkDropped reports layers of one block that are dropped: calls whose value nobody
// takes, and variables that get another value, or none ever asks for. whole says that
// nothing outside of the block and what it holds reads its variables.
func (p *pass) checkDropped(block []syntax.Stmt, whole bool) {
	for i, s := range block {
		switch s := s.(type) {
		case *syntax.ExprStmt:
			if name, ok := p.makesLayer(s.X); ok {
				start, end := p.span(s.X)
				p.found(p.source, start, end, fmt.Sprintf("the layer that %s returns is dropped", name), "assign it: m = "+name+"(m, …)")
			}
		case *syntax.AssignStmt:
			id, ok := s.LHS.(*syntax.Ident)
			name, layer := "", false
			if ok && s.Op == syntax.EQ {
				name, layer = p.makesLayer(s.RHS)
			}
			if !layer || strings.HasPrefix(id.Name, "_") && !isLocal(id) || p.linter.loaded(id.Name) {
				continue
			}
			never := whole && !p.used(id)
			if never || overwritten(id, block[i+1:]) {
				start, end := p.span(id)
				p.found(p.source, start, end, fmt.Sprintf("nothing uses the layer %s that %s returns", id.Name, name), "")
			}
		}
	}
}

// overwritten reports whether the next statement of a block that names id gives it
// another value without a look at the one that it has.
func overwritten(id *syntax.Ident, rest []syntax.Stmt) bool {
	for _, s := range rest {
		if assign, ok := s.(*syntax.AssignStmt); ok && assign.Op == syntax.EQ {
			other, isName := assign.LHS.(*syntax.Ident)
			if isName && same(id, other) && !mentions(assign.RHS, id) {
				return true
			}
		}
		if mentions(s, id) || calls(s) {
			return false
		}
	}
	return false
}

// calls reports whether s can call a function of the file, which may read variables
// of the top level, or defines one.
func calls(s syntax.Stmt) bool {
	_, def := s.(*syntax.DefStmt)
	return def || hasBody(s)
}

// same reports whether two names are one variable.
func same(a, b *syntax.Ident) bool {
	x, y := bindingOf(a), bindingOf(b)
	return x != nil && y != nil && x.First != nil && x.First == y.First
}

// mentions reports whether the variable id occurs in n.
func mentions(n syntax.Node, id *syntax.Ident) bool {
	found := false
	syntax.Walk(n, func(n syntax.Node) bool {
		if other, ok := n.(*syntax.Ident); ok && same(id, other) {
			found = true
		}
		return !found
	})
	return found
}
