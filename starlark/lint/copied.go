package lint

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"go.starlark.net/syntax"
	sh "mvdan.cc/sh/v3/syntax"
)

// A copied is a file or a directory that a definition copies into the machine.
type copied struct{ src, dst string }

// findCopied adds the shell scripts that calls of copy bring into the machine: to
// f.scripts those that a step or a test runs there, to f.kept all others.
func (f *file) findCopied() {
	copies := f.copies()
	if len(copies) == 0 {
		return
	}
	known := map[string]bool{} // by the path by which they are opened
	for _, by := range slices.Clone(f.scripts) {
		by.programs(func(program string, interpreter []string) {
			for _, c := range copies {
				name, ok := c.source(program, f.isDir)
				if !ok {
					continue
				}
				if s := f.copiedScript(name, known); s != nil {
					s.secrets = by.secrets
					if s.interpreter = interpreter; len(interpreter) == 0 && !bytes.HasPrefix(s.text.b, []byte("#!")) {
						s.interpreter = []string{"sh"}
					}
					s.parse()
					f.scripts = append(f.scripts, s)
				}
			}
		})
	}
	for _, c := range copies {
		if s := f.copiedScript(c.src, known); s != nil {
			s.parse()
			f.kept = append(f.kept, s)
		}
	}
}

// copies returns what is copied to a place that is known.
func (f *file) copies() (all []copied) {
	f.each(func(n syntax.Node) {
		call, ok := n.(*syntax.CallExpr)
		if !ok {
			return
		}
		if name, own := calleeOf(call); !own || name != "copy" {
			return
		}
		dst, ok := stringOf(argument(call, "dst", 2))
		for _, src := range stringsOf(argument(call, "src", 1)) {
			if ok && !strings.ContainsAny(src, "*?[") {
				all = append(all, copied{src, dst})
			}
		}
	})
	return all
}

// source returns the file of the project that is at an absolute path of the machine.
func (c copied) source(at string, isDir func(string) bool) (name string, ok bool) {
	if isDir(c.src) {
		rest, below := strings.CutPrefix(at, strings.TrimSuffix(c.dst, "/")+"/")
		return strings.TrimSuffix(c.src, "/") + "/" + rest, below
	}
	if strings.HasSuffix(c.dst, "/") {
		return c.src, at == c.dst+path.Base(c.src)
	}
	return c.src, at == c.dst
}

// copiedScript reads a file that is copied. It returns nil for one that is no shell
// script, or that is known already.
func (f *file) copiedScript(name string, known map[string]bool) *script {
	if f.linter.Read == nil || f.isDir(name) {
		return nil
	}
	b, at, err := f.linter.Read(f.path, name)
	if err != nil || known[at] {
		return nil // a file that is missing is for who evaluates
	}
	known[at] = true
	s := &script{src: newSource(f.linter.show(at), at, b), text: wholeText(b), ownFile: true}
	named := strings.HasSuffix(name, ".sh") || strings.HasSuffix(name, ".bash")
	if shebang := bytes.HasPrefix(b, []byte("#!")); !shebang && !named || s.shell() == "" {
		return nil
	}
	return s
}

// programs yields the absolute paths of the programs that a script runs, and what it
// runs each with.
func (s *script) programs(yield func(program string, interpreter []string)) {
	s.calls(func(_ *sh.Stmt, c command) {
		if path.IsAbs(c.program) && !slices.Contains(shells, c.name) {
			yield(c.program, nil)
			return
		}
		if !slices.Contains(shells, c.name) {
			return
		}
		words := []string{c.name}
		for _, w := range c.words {
			if path.IsAbs(w.text) {
				yield(w.text, words)
				return
			}
			if !isLetters(w.text) || strings.HasSuffix(w.text, "c") { // a program's text
				return
			}
			words = append(words, w.text)
		}
	})
}
