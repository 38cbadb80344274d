package lint

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/syntax"
	sh "mvdan.cc/sh/v3/syntax"

	"bake.build/bake/internal/spell"
	"bake.build/bake/starlark/scan"
)

// A disable is a comment that switches rules off.
type disable struct {
	src        *source
	start, end int // bytes of the comment
	rules      []string
	reason     string
	wrong      string // what is wrong with the comment, or ""
	from, to   int    // lines of src that it is about
	covered    map[string]bool
}

// newDisable reads a comment; it returns nil for one that is not about lint.
func newDisable(src *source, start int, comment string) *disable {
	rest, ok := strings.CutPrefix(strings.TrimSpace(strings.TrimLeft(comment, "#")), "lint:")
	if !ok {
		return nil
	}
	d := &disable{src: src, start: start, end: start + len(comment), covered: map[string]bool{}}
	list, isDisable := strings.CutPrefix(strings.TrimSpace(rest), "disable=")
	if !isDisable {
		d.wrong = "a comment for the linter is written: # lint: disable=rule reason"
		return d
	}
	names, reason, _ := strings.Cut(list, " ")
	d.rules, d.reason = strings.Split(names, ","), strings.TrimSpace(reason)
	if d.reason == "" {
		d.wrong = "the reason is missing: # lint: disable=" + names + " reason"
	}
	return d
}

// covers reports whether d switches the finding off.
func (d *disable) covers(f Finding) bool {
	if f.File != d.src.name || f.Line < d.from || f.Line > d.to || !slices.Contains(d.rules, f.Rule) {
		return false
	}
	d.covered[f.Rule] = true
	return true
}

// disables returns the comments of a definition that switch rules off.
func (f *file) disables() []*disable {
	if !bytes.Contains(f.text, []byte("lint:")) {
		return nil
	}
	var all []*disable
	for _, c := range scan.Comments(f.text) {
		if d := newDisable(f.source, c.Offset, c.Text); d != nil {
			d.from, d.to = f.statement(c.Line, c.Alone)
			all = append(all, d)
		}
	}
	return all
}

// statement returns the lines of the statement that a comment is about: the one that
// ends or begins on its line, or the next one where the comment stands alone. Of one
// with a body only its head counts, unless the comment stands alone before it.
func (f *file) statement(line int, alone bool) (from, to int) {
	from, to = line, line
	next := 0
	syntax.Walk(f.tree, func(n syntax.Node) bool {
		s, ok := n.(syntax.Stmt)
		if !ok {
			return n != nil
		}
		start, end := s.Span()
		first, last := int(start.Line), int(end.Line)
		if end.Col == 1 && last > first { // a body ends where the next line begins
			last--
		}
		if alone && first > line && (next == 0 || first < next) {
			next, from, to = first, line, last
		}
		if !alone && !hasBody(s) && first <= line && line <= last {
			from, to = first, last
		}
		return true
	})
	return from, to
}

func hasBody(s syntax.Stmt) bool {
	switch s.(type) {
	case *syntax.DefStmt, *syntax.ForStmt, *syntax.IfStmt, *syntax.WhileStmt:
		return true
	}
	return false
}

// disables returns the comments of a script that switch rules off.
func (s *script) disables() []*disable {
	if !bytes.Contains(s.text.b, []byte("lint:")) {
		return nil
	}
	var all []*disable
	sh.Walk(s.tree, func(n sh.Node) bool {
		c, ok := n.(*sh.Comment)
		if !ok {
			return true
		}
		d := newDisable(s.src, s.place(c.Pos()), "#"+c.Text)
		if d == nil {
			return true
		}
		first, last := s.subject(c)
		d.from, _ = s.src.place(s.place(first))
		d.to, _ = s.src.place(s.text.place(int(last.Offset()) - 1))
		line, _ := s.src.place(d.start)
		d.from = min(d.from, line)
		all = append(all, d)
		return true
	})
	return all
}

// subject returns the bounds of the statement that a comment of a script is about.
func (s *script) subject(c *sh.Comment) (first, last sh.Pos) {
	first, last = c.Pos(), c.End()
	offset := int(c.Pos().Offset())
	begin := bytes.LastIndexByte(s.text.b[:offset], '\n') + 1
	alone := len(bytes.TrimSpace(s.text.b[begin:offset])) == 0
	line := c.Pos().Line()
	done := false
	sh.Walk(s.tree, func(n sh.Node) bool {
		stmt, ok := n.(*sh.Stmt)
		if !ok {
			return true
		}
		start, end := stmt.Position, stmt.End()
		switch {
		case alone && !done && start.Line() > line:
			first, last, done = start, end, true
		case !alone && start.Line() <= line && line <= end.Line():
			first, last = start, end
		}
		return true
	})
	return first, last
}

// judge reports what is wrong with d itself.
func (l *Linter) judge(f *file, d *disable, report func(Finding)) {
	if p := l.pass(f, "lint-comment", report); p != nil {
		known := Names(Rules())
		if d.wrong != "" {
			p.found(d.src, d.start, d.end, d.wrong, "")
		}
		for _, name := range d.rules {
			if !slices.Contains(known, name) {
				p.found(d.src, d.start, d.end, fmt.Sprintf("no rule %q%s", name, spell.Hint(name, "rules", known)), "")
			}
		}
	}
	p := l.pass(f, "unused-disable", report)
	if p == nil {
		return
	}
	var unused []string
	for _, name := range d.rules {
		if l.pass(f, name, nil) != nil && !d.covered[name] {
			unused = append(unused, name)
		}
	}
	if len(unused) == 0 {
		return
	}
	var fix []Edit
	if len(unused) == len(d.rules) {
		fix = append(fix, d.removal())
	}
	p.found(d.src, d.start, d.end, fmt.Sprintf("%s finds nothing here", strings.Join(unused, ", ")), "remove the comment", fix...)
}

// removal removes the comment, and its line where that has nothing else.
func (d *disable) removal() Edit {
	from, to := d.src.lineRange(d.start, d.end)
	before := d.src.text[from:d.start]
	if len(bytes.TrimSpace(before)) == 0 {
		return Edit{Path: d.src.path, Start: from, End: to}
	}
	return Edit{Path: d.src.path, Start: from + len(bytes.TrimRight(before, " \t")), End: d.end}
}

func lintComment() Rule {
	return Rule{
		Name: "lint-comment", Severity: Warning,
		Doc: "A comment for the linter is not understood: it names no rule, or gives no reason. Who reads it later wants to know why the rule is switched off.",
		Wrong: `# lint: disable=unused-lod
load("@bake//debian.star", "apt", "clean")

m = clean(source(rootfs(), debian = "bookworm"))
export(m, "web", formats = ["tar"])`,
		Right: `# lint: disable=unused-load apt is for the shell of a colleague
load("@bake//debian.star", "apt", "clean")

m = clean(source(rootfs(), debian = "bookworm"))
export(m, "web", formats = ["tar"])`,
	}
}

func unusedDisable() Rule {
	return Rule{
		Name: "unused-disable", Severity: Warning,
		Doc: "A comment switches a rule off that finds nothing there. It would hide what somebody writes there later.",
		Wrong: `# lint: disable=unused-load for later
load("@bake//debian.star", "clean")

m = clean(source(rootfs(), debian = "bookworm"))
export(m, "web", formats = ["tar"])`,
		Right: `load("@bake//debian.star", "clean")

m = clean(source(rootfs(), debian = "bookworm"))
export(m, "web", formats = ["tar"])`,
		Fix: "removes the comment",
	}
}

func syntaxRule() Rule {
	return Rule{
		Name: "syntax", Severity: Error,
		Doc:   "The file is not Starlark. Nothing else is looked for in it.",
		Wrong: `m = source(rootfs(), debian = "bookworm"`,
		Right: `m = source(rootfs(), debian = "bookworm")
export(m, "web", formats = ["tar"])`,
	}
}
