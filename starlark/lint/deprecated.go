package lint

import (
	"fmt"
	"strings"

	"go.starlark.net/syntax"
)

func deprecated() Rule {
	return Rule{
		Name: "deprecated", Severity: Warning,
		Doc: "Something is called that will go: a function or an option of the language, or a function or a parameter of a library whose docstring says \"Deprecated:\". Of a function that is a section of its own; of a parameter it is what the line below Args begins with.",
		Wrong: `def web(base):
    """Adds a web server.

    Deprecated:
      nginx() does the same.
    """
    return shell(base, "apt-get install -y nginx")

export(web(source(rootfs(), debian = "bookworm")), "web", formats = ["tar"])`,
		Right: `def nginx(base):
    """Adds a web server."""
    return shell(base, "apt-get install -y nginx")

export(nginx(source(rootfs(), debian = "bookworm")), "web", formats = ["tar"])`,
		check: func(p *pass) {
			p.each(func(n syntax.Node) {
				if call, ok := n.(*syntax.CallExpr); ok {
					p.checkDeprecated(call)
				}
			})
		},
	}
}

func (p *pass) checkDeprecated(call *syntax.CallExpr) {
	name, own := calleeOf(call)
	if name == "" {
		return
	}
	instead, args := "", map[string]string{}
	if own {
		fn := p.linter.Language.Functions[name]
		instead, args = fn.Deprecated, fn.Args
	} else {
		doc := docOf(p.definition(call))
		instead = section(doc, "Deprecated:")
		if strings.Contains(doc, "Deprecated:") {
			args = deprecatedArgs(section(doc, "Args:"))
		}
	}
	if instead = strings.Join(strings.Fields(instead), " "); instead != "" {
		start, end := p.span(call.Fn)
		p.found(p.source, start, end, name+" is deprecated", instead)
	}
	for _, a := range call.Args {
		kv, ok := a.(*syntax.BinaryExpr)
		if !ok || kv.Op != syntax.EQ {
			continue
		}
		if id, ok := kv.X.(*syntax.Ident); ok && args[id.Name] != "" {
			start, end := p.span(id)
			p.found(p.source, start, end, fmt.Sprintf("the option %s of %s is deprecated", id.Name, name), args[id.Name])
		}
	}
}

// deprecatedArgs returns the parameters in the section Args of a docstring that are
// deprecated, and what is said of each.
func deprecatedArgs(section string) map[string]string {
	args := map[string]string{}
	for line := range strings.Lines(section) {
		name, text, ok := strings.Cut(strings.TrimSpace(line), ":")
		if instead, is := strings.CutPrefix(strings.TrimSpace(text), "Deprecated:"); ok && is {
			args[strings.TrimLeft(name, "*")] = strings.TrimSpace(instead)
		}
	}
	return args
}
