package lint

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"go.starlark.net/syntax"
	sh "mvdan.cc/sh/v3/syntax"
)

// A script is a shell script of a step or a test.
type script struct {
	src     *source // where it is written
	text    *text
	ownFile bool
	secrets []string         // the variables that hold secrets
	call    *syntax.CallExpr // of the step or the test; nil for a script by itself

	interpreter []string        // that the step gives; empty for the usual one
	tree        *sh.File        // empty when it is no shell script, or does not parse
	err         error           // why it does not parse
	defined     map[string]bool // its functions; see functions
}

// runScripts are the functions of the language that run scripts.
var runScripts = []string{"shell", "shell_local", "test"}

// findScripts returns the scripts of the calls of runScripts.
func (f *file) findScripts() []*script {
	var all []*script
	syntax.Walk(f.tree, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok {
			return true
		}
		if name, own := calleeOf(call); own && slices.Contains(runScripts, name) {
			if s := f.scriptOf(call); s != nil {
				s.secrets = f.secretsOf(argument(call, "secrets", -1))
				s.call = call
				s.parse()
				all = append(all, s)
			}
		}
		return true
	})
	return all
}

// scriptOf returns the script of one call, not parsed, or nil.
func (f *file) scriptOf(call *syntax.CallExpr) *script {
	var words []string
	if x := argument(call, "interpreter", -1); x != nil {
		if words = stringsOf(x); len(words) == 0 {
			return nil // not known
		}
		if len(words) == 1 {
			words = strings.Fields(words[0])
		}
	}
	if x := argument(call, "command", 1); x != nil {
		t := f.eval(x, 0)
		if t == nil {
			return nil
		}
		return &script{src: f.source, text: t.dedent(), interpreter: words}
	}
	name, ok := stringOf(argument(call, "script", -1))
	if !ok || f.linter.Read == nil {
		return nil
	}
	b, at, err := f.linter.Read(f.path, name)
	if err != nil {
		return nil
	}
	src := newSource(f.linter.show(at), at, b)
	return &script{src: src, text: wholeText(b), ownFile: true, interpreter: words}
}

func (l *Linter) show(path string) string {
	if l.Show == nil {
		return path
	}
	return l.Show(path)
}

// newScript returns the script that is in a file.
func newScript(src *source, t *text, ownFile bool) *script {
	s := &script{src: src, text: t, ownFile: ownFile}
	s.parse()
	return s
}

// secretsOf returns the variables that the argument secrets binds.
func (f *file) secretsOf(x syntax.Expr) (names []string) {
	switch x := unparen(x).(type) {
	case *syntax.DictExpr:
		for _, e := range x.List {
			if entry, ok := e.(*syntax.DictEntry); ok {
				if s, ok := stringOf(entry.Key); ok && !strings.HasPrefix(s, "/") {
					names = append(names, s)
				}
			}
		}
	case *syntax.ListExpr:
		for _, e := range x.List {
			if call, ok := unparen(e).(*syntax.CallExpr); ok {
				if s, ok := stringOf(argument(call, "name", 0)); ok {
					names = append(names, strings.ToUpper(strings.ReplaceAll(s, "-", "_")))
				}
			}
		}
	}
	return names
}

// shells are the shells whose scripts are read.
var shells = []string{"sh", "bash", "dash", "ash"}

// command returns the words that run the script.
func (s *script) command() []string {
	if len(s.interpreter) > 0 {
		return s.interpreter
	}
	first, _, _ := bytes.Cut(s.text.b, []byte("\n"))
	if line, ok := bytes.CutPrefix(first, []byte("#!")); ok {
		return strings.Fields(string(line))
	}
	return []string{"/bin/sh", "-e"}
}

// shell returns the name of the shell that runs the script, or "".
func (s *script) shell() string {
	for _, word := range s.command() {
		if base := path.Base(word); slices.Contains(shells, base) {
			return base
		} else if base != "env" && !strings.HasPrefix(word, "-") {
			return ""
		}
	}
	return ""
}

// maxScript is how many bytes of a script are read, as in steps.
const maxScript = 1 << 20

// parse reads the script as the shell that runs it does.
func (s *script) parse() {
	s.tree = &sh.File{}
	if s.shell() == "" || len(s.text.b) > maxScript {
		return
	}
	// What dash refuses is not refused here: many a system has another /bin/sh.
	parser := sh.NewParser(sh.Variant(sh.LangBash), sh.KeepComments(true))
	tree, err := parser.Parse(bytes.NewReader(bytes.ReplaceAll(s.text.b, []byte("\r\n"), []byte(" \n"))), "")
	if err != nil {
		s.err = err
		return
	}
	s.tree = tree
}

// place returns where a position of the shell's parser is in the source.
func (s *script) place(p sh.Pos) int { return s.text.place(int(p.Offset())) }

// found reports a node of the script.
func (p *pass) foundIn(s *script, n sh.Node, message, hint string, fix ...Edit) {
	start := s.place(n.Pos())
	end := start
	if last := int(n.End().Offset()) - 1; last >= 0 {
		end = s.text.place(last) + 1
	}
	p.found(s.src, start, max(start, end), message, hint, fix...)
}

// calls yields the simple commands of the script, with the statement that each is.
func (s *script) calls(yield func(stmt *sh.Stmt, c command)) {
	sh.Walk(s.tree, func(n sh.Node) bool {
		if stmt, ok := n.(*sh.Stmt); ok && stmt != nil {
			if call, ok := stmt.Cmd.(*sh.CallExpr); ok && len(call.Args) > 0 {
				yield(stmt, newCommand(call))
			}
		}
		return true
	})
}

// A command is a simple command, without what runs it, such as sudo.
type command struct {
	call    *sh.CallExpr
	program string // as it is called
	name    string // base name of the program
	words   []word // its arguments
}

// A word is one argument. What is expanded is in text as "$NAME", or unknown.
type word struct {
	text string
	node *sh.Word
}

// runners are programs that run the command that their arguments are. The value is the
// options that take an argument.
var runners = map[string]string{
	"sudo": "ughpCrRTU", "doas": "uC", "env": "uCS", "nice": "n", "ionice": "cn", "nohup": "", "eatmydata": "", "command": "", "exec": "a",
	"time": "fo", "timeout": "ks", "chroot": "", "builtin": "", "setsid": "", "stdbuf": "ioe",
}

func newCommand(call *sh.CallExpr) command {
	c := command{call: call}
	for _, w := range call.Args {
		c.words = append(c.words, word{wordText(w), w})
	}
	for len(c.words) > 0 {
		c.program = c.words[0].text
		c.name = path.Base(c.program)
		c.words = c.words[1:]
		takes, ok := runners[c.name]
		if !ok {
			break
		}
		c.skipOptions(takes)
		if len(c.words) == 0 {
			break
		}
	}
	return c
}

// skipOptions drops the options, variables and operands that come before the command
// that a runner runs.
func (c *command) skipOptions(takes string) {
	runner := c.name
	for len(c.words) > 0 {
		w := c.words[0].text
		name, _, assigns := strings.Cut(w, "=")
		switch {
		case w == "--":
			c.words = c.words[1:]
			return
		case strings.HasPrefix(w, "-") && len(w) == 2 && strings.Contains(takes, w[1:]) && len(c.words) > 1:
			c.words = c.words[2:]
		case strings.HasPrefix(w, "-"), assigns && sh.ValidName(name):
			c.words = c.words[1:]
		case (runner == "timeout" || runner == "chroot") && len(c.words) > 1:
			c.words = c.words[1:]
			return
		default:
			return
		}
	}
}

// wordText returns a word as far as it is known.
func wordText(w *sh.Word) string {
	var b strings.Builder
	for _, p := range w.Parts {
		writePart(&b, p)
	}
	return b.String()
}

func writePart(b *strings.Builder, p sh.WordPart) {
	switch p := p.(type) {
	case *sh.Lit:
		for i := 0; i < len(p.Value); i++ { // a backslash quotes what follows
			if p.Value[i] == '\\' && i+1 < len(p.Value) {
				i++
			}
			b.WriteByte(p.Value[i])
		}
	case *sh.SglQuoted:
		b.WriteString(p.Value)
	case *sh.DblQuoted:
		for _, inner := range p.Parts {
			writePart(b, inner)
		}
	case *sh.ParamExp:
		b.WriteString("$")
		if p.Param != nil {
			b.WriteString(p.Param.Value)
		}
	default:
		b.WriteRune(unknown)
	}
}
