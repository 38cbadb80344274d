package lint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/syntax"
)

func cacheOrder() Rule {
	return Rule{
		Name: "cache-order", Severity: Warning,
		Doc: "A directory is copied before packages are installed: each change of a file in it makes a new layer, and the installation, which does not need it, runs again. Copy late what changes often.",
		Wrong: `load("@bake//debian.star", "apt")

m = source(rootfs(), debian = "bookworm")
m = copy(m, "site/", "/var/www/html/")
m = apt.install(m, ["nginx-light"])
export(m, "web", formats = ["tar"])`,
		Right: `load("@bake//debian.star", "apt")

m = source(rootfs(), debian = "bookworm")
m = apt.install(m, ["nginx-light"])
m = copy(m, "site/", "/var/www/html/")
export(m, "web", formats = ["tar"])`,
		check: func(p *pass) {
			if p.tree == nil {
				return
			}
			o := &order{pass: p, installs: map[*syntax.CallExpr]*script{}, told: map[*syntax.CallExpr]bool{}}
			for _, s := range p.scripts {
				if s.call != nil && s.installs() {
					o.installs[s.call] = s
				}
			}
			o.block(p.tree.Stmts, trees{})
			p.each(func(n syntax.Node) {
				if def, ok := n.(*syntax.DefStmt); ok {
					o.block(def.Body, trees{})
				}
			})
		},
	}
}

// trees are the copies of directories that are in the layer of each variable.
type trees map[string][]treeCopy

// A treeCopy is a call that copies a directory.
type treeCopy struct {
	call *syntax.CallExpr
	dst  string
}

// An order follows layers through the statements of a block.
type order struct {
	*pass
	installs map[*syntax.CallExpr]*script // steps that install packages
	told     map[*syntax.CallExpr]bool
}

func (o *order) block(block []syntax.Stmt, in trees) {
	for _, s := range block {
		switch s := s.(type) {
		case *syntax.AssignStmt:
			copies := o.layer(s.RHS, in)
			if id, ok := s.LHS.(*syntax.Ident); ok {
				in[id.Name] = copies
			}
		case *syntax.ExprStmt:
			o.layer(s.X, in)
		case *syntax.ReturnStmt:
			if s.Result != nil {
				o.layer(s.Result, in)
			}
		case *syntax.ForStmt:
			o.block(s.Body, maps.Clone(in))
		case *syntax.IfStmt:
			o.block(s.True, maps.Clone(in))
			o.block(s.False, maps.Clone(in))
		}
	}
}

// layer returns the copies of directories that are in the layer x.
func (o *order) layer(x syntax.Expr, in trees) []treeCopy {
	switch x := unparen(x).(type) {
	case *syntax.Ident:
		return in[x.Name]
	case *syntax.CallExpr:
		first := argument(x, "layer", 0)
		if first == nil {
			return nil
		}
		copies := o.layer(first, in)
		name, own := calleeOf(x)
		if own && name == "copy" {
			if dst, tree := o.copiesTree(x); tree {
				return append(slices.Clone(copies), treeCopy{x, dst})
			}
		}
		s := o.installs[x]
		if s == nil && (own || !strings.HasSuffix(name, ".install")) {
			return copies
		}
		o.installed(x, s, copies)
		return copies
	}
	return nil
}

// installed reports the copies that a step which installs packages comes after.
func (o *order) installed(call *syntax.CallExpr, s *script, copies []treeCopy) {
	at, end := o.span(call)
	line, _ := o.place(at)
	_, behind := o.span(call.Args[0]) // the layer, in which the copy may be
	said := string(o.text[behind:end])
	if s != nil {
		said = string(s.text.b)
	}
	for _, c := range copies {
		needed := c.dst != "/" && strings.Contains(said, strings.TrimSuffix(c.dst, "/"))
		if told := o.told[c.call]; told || needed {
			o.told[c.call] = true
			continue
		}
		o.told[c.call] = true
		from, to := o.span(c.call)
		o.found(o.source, from, to, fmt.Sprintf("a directory is copied before packages are installed in line %d, which run again after each change of a file in it", line), "copy it after the installation")
	}
}

// forPackages are directories whose files package managers read.
var forPackages = []string{
	"/etc/apt", "/etc/yum", "/etc/dnf", "/etc/zypp", "/etc/apk", "/etc/pki", "/etc/ssl", "/etc/rpm", "/etc/dpkg",
	"/etc/pip", "/etc/pacman", "/usr/share/keyrings", "/usr/local/share/ca-certificates", "/var/cache/apt", "/etc/ca-certificates",
}

// copiesTree reports whether a call of copy copies a directory that no package manager
// reads, and returns where to.
func (o *order) copiesTree(call *syntax.CallExpr) (dst string, tree bool) {
	dst, ok := stringOf(argument(call, "dst", 2))
	if !ok || slices.ContainsFunc(forPackages, func(dir string) bool { return strings.HasPrefix(dst, dir) }) {
		return dst, false
	}
	for _, src := range stringsOf(argument(call, "src", 1)) {
		if strings.HasSuffix(src, "/") || strings.Contains(src, "**") || o.isDir(src) {
			tree = true
		}
		for _, dir := range forPackages {
			if dst == "/" && o.isDir(strings.TrimSuffix(src, "/")+dir) {
				return dst, false
			}
		}
	}
	return dst, tree
}

func (f *file) isDir(name string) bool {
	return f.linter.IsDir != nil && f.linter.IsDir(f.path, name)
}
