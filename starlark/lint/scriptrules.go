package lint

import (
	"bytes"
	"errors"
	"path"
	"slices"
	"strings"

	sh "mvdan.cc/sh/v3/syntax"
)

func scriptCRLF() Rule {
	return Rule{
		Name: "script-crlf", Severity: Warning,
		Doc:   "A script has the line ends of Windows. A step takes the CR off when all lines have one; what copies the file, or runs it by hand, does not, and the shell then reads it as a part of each last word. Scripts that are copied into the machine are looked at as well.",
		Wrong: "m = source(rootfs(), debian = \"bookworm\")\nm = shell(m, \"set -e\\r\\nmake install\\r\\n\")\nexport(m, \"web\", formats = [\"tar\"])",
		Right: "m = source(rootfs(), debian = \"bookworm\")\nm = shell(m, \"set -e\\nmake install\\n\")\nexport(m, \"web\", formats = [\"tar\"])",
		Fix:   "writes a script file with LF",
		check: func(p *pass) {
			for _, s := range slices.Concat(p.scripts, p.kept) {
				at := bytes.Index(s.text.b, []byte("\r\n"))
				if at < 0 {
					continue
				}
				var fix []Edit
				if s.ownFile {
					for i, c := range s.text.b {
						if c == '\r' && i+1 < len(s.text.b) && s.text.b[i+1] == '\n' {
							fix = append(fix, Edit{Path: s.src.path, Start: i, End: i + 1})
						}
					}
				}
				p.found(s.src, s.text.place(at), s.text.place(at)+1, "the script has lines that end in CR LF", "write it with LF", fix...)
			}
		},
	}
}

func scriptErrexit() Rule {
	return Rule{
		Name: "script-errexit", Severity: Warning,
		Doc: "A script with a \"#!\" line, or an interpreter of its own, goes on after a command that failed: the layer is kept as if all had succeeded. Without one, a step runs with sh -e. A script that is copied into the machine is looked at where a step runs it there.",
		Wrong: `m = source(rootfs(), debian = "bookworm")
m = shell(m, """#!/bin/bash
make
make install
""")
export(m, "web", formats = ["tar"])`,
		Right: `m = source(rootfs(), debian = "bookworm")
m = shell(m, """#!/bin/bash
set -euo pipefail
make
make install
""")
export(m, "web", formats = ["tar"])`,
		check: func(p *pass) {
			for _, s := range p.scripts {
				if !s.goesOn() || s.stops() || !s.text.knownHead() {
					continue
				}
				end := bytes.IndexByte(s.text.b, '\n')
				p.found(s.src, s.text.place(0), s.text.place(max(end, 0)), "the script goes on after a command that failed", "begin it with set -e")
			}
		},
	}
}

// knownHead reports whether the first line of a text is known.
func (t *text) knownHead() bool {
	head, _, _ := bytes.Cut(t.b, []byte("\n"))
	return !strings.ContainsRune(string(head), unknown)
}

// goesOn reports whether something is run after the first command of the script, which
// may fail. A function alone runs nothing, as in a library that others read.
func (s *script) goesOn() bool {
	commands, functions := 0, 0
	for _, stmt := range s.tree.Stmts {
		switch cmd := stmt.Cmd.(type) {
		case *sh.FuncDecl:
			functions++
		case *sh.CallExpr:
			if len(cmd.Args) > 0 {
				commands++
			}
		default:
			commands++
		}
	}
	return commands > 1 || commands == 1 && functions > 0
}

// stops reports whether the script ends at the first command that fails.
func (s *script) stops() bool {
	if slices.ContainsFunc(s.command(), isErrexit) {
		return true
	}
	found := false
	sh.Walk(s.tree, func(n sh.Node) bool {
		if call, ok := n.(*sh.CallExpr); ok && len(call.Args) > 1 {
			name := wordText(call.Args[0])
			for i, a := range call.Args[1:] {
				w := wordText(a)
				found = found || name == "set" && (isErrexit(w) || w == "errexit" && i > 0 || strings.ContainsRune(w, unknown)) || name == "trap" && w == "ERR"
			}
		}
		_, fn := n.(*sh.FuncDecl)
		return !found && !fn
	})
	return found || s.hasUnknownLine()
}

// hasUnknownLine reports whether a whole command of the script is not known, which may
// be the one that is looked for.
func (s *script) hasUnknownLine() bool {
	found := false
	s.calls(func(_ *sh.Stmt, c command) {
		found = found || strings.ContainsRune(c.name, unknown)
	})
	return found
}

// isErrexit reports whether a group of short options has -e.
func isErrexit(w string) bool { return isLetters(w) && strings.Contains(w, "e") }

func scriptSyntax() Rule {
	return Rule{
		Name: "script-syntax", Severity: Error,
		Doc: "The shell cannot read a script: the step fails, after what comes before that place has run.",
		Wrong: `m = source(rootfs(), debian = "bookworm")
m = shell(m, "if true; then echo yes")
export(m, "web", formats = ["tar"])`,
		Right: `m = source(rootfs(), debian = "bookworm")
m = shell(m, "if true; then echo yes; fi")
export(m, "web", formats = ["tar"])`,
		check: func(p *pass) {
			for _, s := range slices.Concat(p.scripts, p.kept) {
				if s.err == nil || !s.text.known() || bytes.Contains(s.text.b, []byte("{{")) && s.ownFile {
					continue // a part of it, or a template
				}
				var parse sh.ParseError
				at, what := 0, s.err.Error()
				if errors.As(s.err, &parse) {
					at, what = int(parse.Pos.Offset()), parse.Text
				}
				p.found(s.src, s.text.place(at), s.text.place(at)+1, path.Base(s.shell())+": "+what, "")
			}
		},
	}
}
