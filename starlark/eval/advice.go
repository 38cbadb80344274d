package eval

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"go.starlark.net/syntax"

	"bake.build/bake/internal/lazyregexp"
)

// An adviceError is an error of a file's text with what may help.
type adviceError struct {
	error
	hint string
}

func (e *adviceError) Unwrap() error { return e.error }

// Hint returns what may help.
func (e *adviceError) Hint() string { return e.hint }

// advise adds to an error of the parser what was probably meant: most authors
// know Python, and a parser only knows which token it did not expect.
func advise(err error, text []byte) error {
	var e syntax.Error
	if !errors.As(err, &e) {
		return err
	}
	lines := strings.Split(string(text), "\n")
	if n := int(e.Pos.Line); n < 1 || n > len(lines) {
		return err
	}
	hint := advice(e, lines)
	e.Pos = tokenStart(e, lines[e.Pos.Line-1])
	if hint != "" {
		return &adviceError{e, hint}
	}
	return e
}

// unexpected matches what the parser did not expect, as it says it.
var unexpected = lazyregexp.New(`^got (identifier|int literal|float literal|string literal|'?[^ ,']+'?)(, want |$)`)

// tokenStart returns where the token of e begins: the parser says where the one
// that it did not expect ends.
func tokenStart(e syntax.Error, line string) syntax.Position {
	m := unexpected.FindStringSubmatch(e.Msg)
	text := []rune(line)
	end := int(e.Pos.Col) - 1
	if m == nil || end < 1 || end > len(text) {
		return e.Pos
	}
	before := string(text[:end])
	var token string
	switch kind := strings.Trim(m[1], "'"); {
	case kind == "identifier" || kind == "int literal" || kind == "float literal":
		token = lastWord.FindString(before)
	case kind == "string literal":
		token = lastString.FindString(before)
	case strings.HasSuffix(before, kind):
		token = kind
	}
	e.Pos.Col -= int32(len([]rune(token)))
	return e.Pos
}

var (
	lastWord   = lazyregexp.New(`[\pL\pN_.]+$`)
	lastString = lazyregexp.New(`("(\\.|[^"\\])*"|'(\\.|[^'\\])*')$`)
)

// ofPython says what stands in a definition for what a Python program would say.
var ofPython = map[string]string{
	"import": `a file is loaded with load("lib/web.star", "web"), the shipped library with load("@bake//debian.star", "apt")`,
	"from":   `a file is loaded with load("lib/web.star", "web"), the shipped library with load("@bake//debian.star", "apt")`,
	"class":  "Starlark has no classes: struct(a = 1) has fields, and functions are values",
	"while":  "Starlark has no while: a for loop over range(n) or over a list always ends",
	"try":    `Starlark has no exceptions: fail("why") ends the evaluation`,
	"except": `Starlark has no exceptions: fail("why") ends the evaluation`,
	"raise":  `fail("why") ends the evaluation`,
	"assert": `fail("why") ends the evaluation: if not x: fail("…")`,
	"with":   `a file of the project is read with read_file("name")`,
	"async":  "steps that do not depend on each other run in parallel by themselves",
	"global": "a function returns what it made: m = web(m)",
	"del":    "values are never removed: give the name another value",
	"yield":  "a function returns a list",
	"is":     "values are compared with ==",
}

func advice(e syntax.Error, lines []string) string {
	line := lines[e.Pos.Line-1]
	words := strings.Fields(line)
	if hint := ofFormat(e, lines); hint != "" {
		return hint
	}
	if len(words) > 0 {
		if hint := ofPython[strings.TrimSuffix(words[0], ":")]; hint != "" {
			return hint
		}
	}
	got, want, expected := strings.Cut(strings.TrimPrefix(e.Msg, "got "), ", want ")
	indented := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
	switch {
	case mixesTabs(lines) && indented && (strings.Contains(e.Msg, "indent") || strings.Contains(e.Msg, "unindent")):
		return "some lines are indented with tabs and others with spaces: use spaces alone"
	case strings.Contains(e.Msg, "indent"):
		return "the lines of a block begin in the same column"
	case !expected:
		return ""
	case got == "string literal" && isFString(line):
		return `there are no f-strings: "release %s" % version, or "release {}".format(version)`
	case got == "string literal" && strings.ContainsAny(want, "])}"):
		return "strings side by side are not joined: write a comma between them, or +"
	case strings.ContainsAny(want, ",)]}"):
		return missingBefore(e, lines)
	case got == "if" && strings.Contains(line, "else if"):
		return "else if is written elif"
	case want == "':'" || want == ":":
		return "a line with if, else, for or def ends with a colon"
	}
	return ""
}

var (
	block   = lazyregexp.New(`^[a-z_]+( "[^"]*")+ *\{$|^[a-z_]+ *\{$`)
	mapping = lazyregexp.New(`^[\w-]+:( .*)?$`)
)

// ofFormat says what to do with a file that is something else than Starlark, or
// was written by an editor that changes characters.
func ofFormat(e syntax.Error, lines []string) string {
	line := strings.TrimSpace(lines[e.Pos.Line-1])
	switch {
	case strings.ContainsAny(e.Msg, "“”‘’"):
		return "Starlark's quotes are \" and ': an editor or a web page has made others of them"
	case strings.HasPrefix(e.Msg, "unexpected input character") && strings.ContainsRune(lines[0], '\x00'):
		return "the file is UTF-16: save it as UTF-8"
	case block.MatchString(line):
		return "this is HCL; a definition is Starlark, a small Python, whose calls read source(…), shell(layer, …), export(layer, …): bake init writes a first one"
	case mapping.MatchString(line) && !strings.HasPrefix(line, "else:") && !strings.HasPrefix(line, "try:"):
		return "this is YAML; a definition is Starlark, a small Python, whose calls read source(…), shell(layer, …), export(layer, …): bake init writes a first one"
	}
	return ""
}

// missingBefore says where a comma or a bracket may be missing before what the
// parser did not expect.
func missingBefore(e syntax.Error, lines []string) string {
	for n := int(e.Pos.Line) - 1; n >= 1; n-- {
		before := strings.TrimSpace(lines[n-1])
		if before == "" || strings.HasPrefix(before, "#") {
			continue
		}
		if strings.HasSuffix(before, ",") {
			break // the error is within the line
		}
		return fmt.Sprintf("a comma or a closing bracket may be missing at the end of line %d", n)
	}
	return "a comma or a closing bracket may be missing before it"
}

func mixesTabs(lines []string) bool {
	tabs, spaces := false, false
	for _, l := range lines {
		indent := l[:len(l)-len(strings.TrimLeft(l, " \t"))]
		tabs = tabs || strings.Contains(indent, "\t")
		spaces = spaces || strings.Contains(indent, " ")
	}
	return tabs && spaces
}

func isFString(line string) bool {
	for _, prefix := range []string{` f"`, ` f'`, `(f"`, `(f'`, `=f"`, `=f'`, `[f"`, `,f"`} {
		if strings.Contains(line, prefix) {
			return true
		}
	}
	return false
}

// otherNames say what stands in a definition for a name of another language.
var otherNames = map[string]string{
	"os":      `a definition does not see the environment: declare param("name")`,
	"sys":     `a definition does not see the environment: declare param("name")`,
	"env":     `a definition does not see the environment: declare param("name")`,
	"getenv":  `a definition does not see the environment: declare param("name")`,
	"var":     `declare param("name")`,
	"open":    `a file of the project is read with read_file("name")`,
	"null":    "write None",
	"nil":     "write None",
	"file":    "files are copied with copy(layer, src, dst)",
	"run":     `a command of the machine is shell(layer, "command")`,
	"command": `a command of the machine is shell(layer, "command")`,
	"build":   "export(layer, name) makes an artifact",
}

// library returns which file of the shipped library defines name, or "".
func (r *run) libraryOf(name string) string {
	if r.cfg.Std == nil || strings.HasPrefix(name, "_") {
		return ""
	}
	files, err := fs.Glob(r.cfg.Std, "*.star")
	if err != nil {
		return ""
	}
	for _, file := range files {
		if strings.HasPrefix(file, "_") {
			continue // what the other files share
		}
		text, err := fs.ReadFile(r.cfg.Std, file)
		if err != nil {
			continue
		}
		f, err := dialect.Parse(file, text, 0)
		if err != nil {
			continue
		}
		for _, stmt := range f.Stmts {
			if defines(stmt, name) {
				return "@bake//" + path.Clean(file)
			}
		}
	}
	return ""
}

func defines(stmt syntax.Stmt, name string) bool {
	switch s := stmt.(type) {
	case *syntax.DefStmt:
		return s.Name.Name == name
	case *syntax.AssignStmt:
		id, ok := s.LHS.(*syntax.Ident)
		return ok && id.Name == name
	}
	return false
}
