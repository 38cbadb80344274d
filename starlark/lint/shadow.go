package lint

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

func shadowedBuiltin() Rule {
	return Rule{
		Name: "shadowed-builtin", Severity: Warning,
		Doc: "A name hides a function of the language, which can then not be called there: the error is at some later call, or what is called is something else.",
		Wrong: `def image(base, copy):
    return shell(base, "make install") if copy else base

export(image(source(rootfs(), debian = "bookworm"), True), "web", formats = ["tar"])`,
		Right: `def image(base, install):
    return shell(base, "make install") if install else base

export(image(source(rootfs(), debian = "bookworm"), True), "web", formats = ["tar"])`,
		check: func(p *pass) {
			p.each(func(n syntax.Node) {
				switch n := n.(type) {
				case *syntax.AssignStmt:
					if n.Op == syntax.EQ {
						p.checkShadow(targetsOf(n.LHS)...)
					}
				case *syntax.ForStmt:
					p.checkShadow(targetsOf(n.Vars)...)
				case *syntax.ForClause:
					p.checkShadow(targetsOf(n.Vars)...)
				case *syntax.LoadStmt:
					p.checkShadow(n.To...)
				case *syntax.DefStmt:
					p.checkShadow(n.Name)
					for _, param := range n.Params {
						if id := paramOf(param); id != nil {
							p.checkShadow(id)
						}
					}
				}
			})
		},
	}
}

// checkShadow reports those names that hide a function of the language. Of a name that
// is bound several times, the first is told.
func (p *pass) checkShadow(names ...*syntax.Ident) {
	for _, id := range names {
		if b := bindingOf(id); b != nil && b.First != nil && b.First != id {
			continue
		}
		_, own := p.linter.Language.Functions[id.Name]
		if !own && !starlark.Universe.Has(id.Name) {
			continue
		}
		start, end := p.span(id)
		p.found(p.source, start, end, fmt.Sprintf("%s hides the function %s of the language", id.Name, id.Name), "give it another name")
	}
}
