package lint

import (
	"path"
	"slices"
	"strings"

	sh "mvdan.cc/sh/v3/syntax"
)

func downloadRun() Rule {
	return Rule{
		Name: "download-run", Severity: Warning,
		Doc: "A script runs what it has just downloaded, as in curl … | sh, and nothing says what that has to be. The address may give something else at the next build, and the cache does not notice. Download a version, compare its SHA-256, then run it; or keep it in the project.",
		Wrong: `m = source(rootfs(), debian = "bookworm")
m = shell(m, "curl -fsSL https://get.example.com | sh")
export(m, "web", formats = ["tar"])`,
		Right: `m = source(rootfs(), debian = "bookworm")
m = shell(m, """
    curl -fsSLo /tmp/install.sh https://get.example.com/1.4.2/install.sh
    echo "0f343b0931126a20f133d67c2b018a3b5f9f6c3a2a1e9d8c7b6a5f4e3d2c1b0a  /tmp/install.sh" | sha256sum -c -
    sh /tmp/install.sh
""")
export(m, "web", formats = ["tar"])`,
		check: func(p *pass) {
			for _, s := range p.scripts {
				p.checkDownloads(s)
			}
		},
	}
}

const downloadHint = "download a version, compare its SHA-256, then run it"

func (p *pass) checkDownloads(s *script) {
	told := map[sh.Node]bool{}
	sh.Walk(s.tree, func(n sh.Node) bool {
		switch n := n.(type) {
		case *sh.BinaryCmd:
			if n.Op != sh.Pipe && n.Op != sh.PipeAll || told[n] {
				return true
			}
			stages := pipeline(n, told)
			fetch := slices.IndexFunc(stages, fetches)
			if fetch >= 0 && slices.ContainsFunc(stages[fetch+1:], runsInput) {
				p.foundIn(s, n, "a download is run as it comes", downloadHint)
			}
		case *sh.CallExpr:
			if len(n.Args) > 0 && runsDownload(newCommand(n)) {
				p.foundIn(s, n, "a download is run as it comes", downloadHint)
			}
		}
		return true
	})
	p.checkSaved(s)
}

// pipeline returns the statements of a pipe, and notes the pipes that it is made of.
func pipeline(b *sh.BinaryCmd, told map[sh.Node]bool) []*sh.Stmt {
	var stages []*sh.Stmt
	for _, side := range []*sh.Stmt{b.X, b.Y} {
		inner, ok := side.Cmd.(*sh.BinaryCmd)
		if ok && (inner.Op == sh.Pipe || inner.Op == sh.PipeAll) {
			told[inner] = true
			stages = append(stages, pipeline(inner, told)...)
			continue
		}
		stages = append(stages, side)
	}
	return stages
}

// fetchers download to their standard output or to a file.
var fetchers = []string{"curl", "wget", "fetch", "aria2c"}

// fetches reports whether a statement downloads something to its standard output.
func fetches(stmt *sh.Stmt) bool {
	found := false
	sh.Walk(stmt, func(n sh.Node) bool {
		if call, ok := n.(*sh.CallExpr); ok && len(call.Args) > 0 {
			c := newCommand(call)
			found = found || slices.Contains(fetchers, c.name) && !c.local()
		}
		_, subst := n.(*sh.CmdSubst) // its output is an argument
		return !found && !subst
	})
	return found
}

// local reports whether a download is from this machine itself, as in a test, or only
// says something about what it would be.
func (c command) local() bool {
	return slices.ContainsFunc(c.words, func(w word) bool {
		return strings.Contains(w.text, "://localhost") || strings.Contains(w.text, "://127.") || w.text == "-I" || w.text == "--head" || w.text == "--spider"
	})
}

// interpreters run a program that they read. The value is the options after which they
// take it from elsewhere than their input.
var interpreters = map[string][]string{
	"sh": {"-c"}, "bash": {"-c"}, "dash": {"-c"}, "ash": {"-c"}, "zsh": {"-c"}, "ksh": {"-c"},
	"python": {"-c", "-m"}, "python2": {"-c", "-m"}, "python3": {"-c", "-m"}, "perl": {"-e", "-E", "-n", "-p"}, "ruby": {"-e", "-n", "-p"},
	"node": {"-e", "-p"}, "php": {"-r"},
}

// runsInput reports whether a statement runs its input as a program.
func runsInput(stmt *sh.Stmt) bool {
	call, ok := stmt.Cmd.(*sh.CallExpr)
	if !ok || len(call.Args) == 0 {
		return false
	}
	c := newCommand(call)
	elsewhere, ok := interpreters[c.name]
	if !ok {
		return false
	}
	for _, w := range c.words {
		switch {
		case w.text == "-", w.text == "/dev/stdin", w.text == "-s", w.text == "--":
			return true
		case slices.ContainsFunc(elsewhere, func(o string) bool { return strings.HasPrefix(w.text, o) }):
			return false
		case len(w.text) > 2 && w.text[0] == '-' && w.text[1] != '-' && strings.HasSuffix(w.text, "c"): // such as -ec
			return false
		case !strings.HasPrefix(w.text, "-"):
			return false // the program's file
		}
	}
	return true
}

// runsDownload reports whether a command has a download among its arguments and runs
// it: sh -c "$(curl …)", eval "$(curl …)", source <(curl …).
func runsDownload(c command) bool {
	options, interpreter := interpreters[c.name]
	evals := c.name == "eval" || c.name == "source" || c.name == "."
	if !interpreter && !evals {
		return false
	}
	for i, w := range c.words {
		code := evals || i > 0 && slices.Contains(options, c.words[i-1].text)
		for _, part := range flat(w.node.Parts) {
			switch part := part.(type) {
			case *sh.CmdSubst:
				if code && slices.ContainsFunc(part.Stmts, fetchesAlone) {
					return true
				}
			case *sh.ProcSubst:
				if slices.ContainsFunc(part.Stmts, fetchesAlone) {
					return true
				}
			}
		}
	}
	return false
}

// fetchesAlone reports whether a statement is a download and no pipe.
func fetchesAlone(stmt *sh.Stmt) bool {
	_, call := stmt.Cmd.(*sh.CallExpr)
	return call && fetches(stmt)
}

// flat returns the parts of a word, those in quotes as well.
func flat(parts []sh.WordPart) []sh.WordPart {
	var all []sh.WordPart
	for _, p := range parts {
		if q, ok := p.(*sh.DblQuoted); ok {
			all = append(all, q.Parts...)
			continue
		}
		all = append(all, p)
	}
	return all
}

// verifiers compare a file with what it has to be.
var verifiers = []string{"sha256sum", "sha512sum", "sha384sum", "sha1sum", "shasum", "md5sum", "b2sum", "gpg", "gpgv", "openssl", "cosign", "minisign", "cksum", "rpm", "rpmkeys"}

// checkSaved reports files that the script downloads and then runs, where it compares
// none with a digest.
func (p *pass) checkSaved(s *script) {
	saved := map[string]bool{} // base names
	verified := false
	s.calls(func(stmt *sh.Stmt, c command) {
		verified = verified || slices.Contains(verifiers, c.name)
		if slices.Contains(fetchers, c.name) && !c.local() {
			if name := c.savesTo(stmt); name != "" {
				saved[name] = true
			}
		}
	})
	if verified || len(saved) == 0 {
		return
	}
	s.calls(func(_ *sh.Stmt, c command) {
		file := ""
		if _, ok := interpreters[c.name]; ok {
			for _, w := range c.words {
				if !strings.HasPrefix(w.text, "-") {
					file = path.Base(w.text)
					break
				}
			}
		} else if first := wordText(c.call.Args[0]); strings.Contains(first, "/") {
			file = c.name
		}
		if file != "" && saved[file] {
			p.foundIn(s, c.call, "what was downloaded is run, and nothing says what it has to be", downloadHint)
		}
	})
}

// savesTo returns the base name of the file that a download is written to, or "".
func (c command) savesTo(stmt *sh.Stmt) string {
	name, remote := "", c.name == "wget"
	for i, w := range c.words {
		next := ""
		if i+1 < len(c.words) {
			next = c.words[i+1].text
		}
		switch {
		case w.text == "--output", w.text == "--output-document", c.name == "wget" && isLetters(w.text) && strings.HasSuffix(w.text, "O"),
			c.name != "wget" && isLetters(w.text) && strings.HasSuffix(w.text, "o"):
			return base(next)
		case strings.HasPrefix(w.text, "--output="), strings.HasPrefix(w.text, "--output-document="):
			return base(w.text[strings.IndexByte(w.text, '=')+1:])
		case w.text == "--remote-name", c.name == "curl" && isLetters(w.text) && strings.Contains(w.text, "O"):
			remote = true
		case strings.Contains(w.text, "://"):
			name = base(w.text)
		}
	}
	for _, r := range stmt.Redirs {
		if r.Op == sh.RdrOut && r.N == nil && r.Word != nil {
			return base(wordText(r.Word))
		}
	}
	if remote {
		return name
	}
	return ""
}

// base returns the last element of a path, or "" where that is not known.
func base(s string) string {
	s = path.Base(s)
	if s == "-" || s == "." || s == "/" || strings.ContainsRune(s, unknown) || strings.HasPrefix(s, "$") && strings.Contains(s[1:], "$") {
		return ""
	}
	return s
}
