package lint

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	sh "mvdan.cc/sh/v3/syntax"
)

// A manager is a package manager: which of its commands ask before they do something,
// and how it is told not to.
type manager struct {
	asks     []string
	yes      []string // options, as they are written
	letters  string   // short options of the same meaning, also among others
	settings []string // parts of arguments that say so, too
	before   bool     // the option belongs before the command
}

// managers are the package managers that ask.
var managers = map[string]manager{
	"apt-get": apt, "apt": apt,
	"aptitude": {asks: apt.asks, yes: []string{"-y", "--assume-yes"}, letters: "y"},
	"yum":      yum, "dnf": yum, "microdnf": yum, "tdnf": yum,
	"zypper": {asks: []string{"install", "in", "remove", "rm", "update", "up", "patch", "dist-upgrade", "dup"},
		yes: []string{"-n", "--non-interactive", "-y", "--no-confirm"}, letters: "ny", before: true},
	"pacman": {asks: []string{"-S", "-Sy", "-Syu", "-Syyu", "-Su", "-U", "-R", "-Rs", "-Rns"}, yes: []string{"--noconfirm"}},
}

var apt = manager{
	asks: []string{"install", "reinstall", "remove", "purge", "upgrade", "dist-upgrade", "full-upgrade", "autoremove", "build-dep", "satisfy"},
	yes:  []string{"-y", "--yes", "--assume-yes", "-qq", "-s", "--simulate", "--dry-run", "--just-print", "--assume-no", "--trivial-only"}, letters: "ys",
	settings: []string{"Assume-Yes=", "-qq", "-q=2", "Assume-Yes"},
}

var yum = manager{
	asks: []string{"install", "reinstall", "localinstall", "groupinstall", "remove", "erase", "update", "upgrade", "distro-sync", "autoremove", "swap", "downgrade"},
	yes:  []string{"-y", "--assumeyes", "--assumeno", "--downloadonly"}, letters: "y",
	settings: []string{"assumeyes="},
}

// asking returns the word of a command that makes a package manager ask, or nil.
func (m manager) asking(c command) *word {
	var asks *word
	for i := range c.words {
		w := &c.words[i]
		switch {
		case asks == nil && slices.Contains(m.asks, w.text):
			asks = w
		case slices.Contains(m.yes, w.text), m.letters != "" && isLetters(w.text) && strings.ContainsAny(w.text[1:], m.letters):
			return nil
		case slices.ContainsFunc(m.settings, func(s string) bool { return strings.Contains(w.text, s) }):
			return nil
		case strings.HasPrefix(w.text, "$"), asks == nil && strings.ContainsRune(w.text, unknown):
			return nil // may hold the option
		}
	}
	return asks
}

// isLetters reports whether an argument is a group of short options.
func isLetters(s string) bool {
	return len(s) > 1 && s[0] == '-' && s[1] != '-' && !strings.ContainsAny(s, "=:./")
}

// installers are further programs that install packages and ask nothing.
var installers = map[string][]string{
	"apk": {"add"}, "pip": {"install"}, "pip3": {"install"}, "npm": {"install", "ci"}, "gem": {"install"}, "dpkg": {"-i", "--install"},
	"rpm": {"-i", "-ivh", "-U", "-Uvh", "--install"}, "zypper": {"install", "in"}, "pacman": {"-S", "-Sy", "-Syu"},
	"apt-get": {"install"}, "apt": {"install"}, "aptitude": {"install"}, "yum": {"install", "groupinstall"}, "dnf": {"install", "groupinstall"},
	"microdnf": {"install"}, "tdnf": {"install"}, "bundle": {"install"}, "cargo": {"install"}, "snap": {"install"},
}

// installs reports whether the script installs packages.
func (s *script) installs() bool {
	found := false
	s.calls(func(_ *sh.Stmt, c command) {
		for _, w := range c.words {
			found = found || slices.Contains(installers[c.name], w.text)
		}
	})
	return found
}

func packagePrompt() Rule {
	return Rule{
		Name: "package-prompt", Severity: Warning,
		Doc: "A package manager will ask before it goes on, as apt-get install without -y: nobody answers, and the step fails as soon as more is to be installed than what was named.",
		Wrong: `m = source(rootfs(), debian = "bookworm")
m = shell(m, "apt-get install nginx")
export(m, "web", formats = ["tar"])`,
		Right: `m = source(rootfs(), debian = "bookworm")
m = shell(m, "apt-get install -y nginx")
export(m, "web", formats = ["tar"])`,
		Fix: "adds the option",
		check: func(p *pass) {
			if configuresYes(p.text) {
				return
			}
			for _, s := range p.scripts {
				if !configuresYes(s.text.b) {
					p.checkPrompts(s)
				}
			}
		},
	}
}

// configuresYes reports whether a text sets the answer for all that follows, in a file
// of the package manager's configuration.
func configuresYes(text []byte) bool {
	return bytes.Contains(text, []byte("APT::Get::Assume-Yes")) || bytes.Contains(text, []byte("assumeyes=")) || bytes.Contains(text, []byte("defaultyes="))
}

func (p *pass) checkPrompts(s *script) {
	defined := s.functions()
	answered := s.answered()
	s.calls(func(stmt *sh.Stmt, c command) {
		m, ok := managers[c.name]
		if !ok || defined[c.name] || answered[stmt] || readsInput(stmt) {
			return
		}
		w := m.asking(c)
		if w == nil {
			return
		}
		var fix []Edit
		yes := m.yes[0]
		start, end := int(w.node.Pos().Offset()), int(w.node.End().Offset())
		if s.text.verbatim(s.src, start, end) {
			at := s.text.place(end-1) + 1
			add := " " + yes
			if m.before {
				at, add = s.text.place(start), yes+" "
			}
			fix = []Edit{{Path: s.src.path, Start: at, End: at, Text: add}}
		}
		p.foundIn(s, c.call, fmt.Sprintf("%s %s asks, and nobody answers", c.name, w.text), "add "+yes, fix...)
	})
}

// functions returns the names of the functions that a script defines.
func (s *script) functions() map[string]bool {
	if s.defined != nil {
		return s.defined
	}
	s.defined = map[string]bool{}
	sh.Walk(s.tree, func(n sh.Node) bool {
		if f, ok := n.(*sh.FuncDecl); ok && f.Name != nil {
			s.defined[f.Name.Value] = true
		}
		return true
	})
	return s.defined
}

// answered returns the statements that get answers through a pipe, as of yes.
func (s *script) answered() map[*sh.Stmt]bool {
	all := map[*sh.Stmt]bool{}
	sh.Walk(s.tree, func(n sh.Node) bool {
		if b, ok := n.(*sh.BinaryCmd); ok && (b.Op == sh.Pipe || b.Op == sh.PipeAll) {
			sh.Walk(b.Y, func(n sh.Node) bool {
				if stmt, ok := n.(*sh.Stmt); ok {
					all[stmt] = true
				}
				return true
			})
		}
		return true
	})
	return all
}

// readsInput reports whether a statement gets its input from a file or a text.
func readsInput(stmt *sh.Stmt) bool {
	return slices.ContainsFunc(stmt.Redirs, func(r *sh.Redirect) bool {
		return r.Hdoc != nil || r.Op == sh.WordHdoc || r.Op == sh.RdrIn && r.Word != nil && wordText(r.Word) != "/dev/null"
	})
}
