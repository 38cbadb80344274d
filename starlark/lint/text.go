package lint

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"go.starlark.net/syntax"
)

// unknown stands in a text for a part that is not known before the definition runs.
// It is a word of a shell script.
const unknown = '\uE000'

// A text is a string of a definition, as far as it is known without running it, and
// where each of its bytes is written in the file.
type text struct {
	b  []byte
	at []int // for each byte, its offset in the file
}

func (t *text) add(at int, b ...byte) {
	t.b = append(t.b, b...)
	for range b {
		t.at = append(t.at, at)
	}
}

func (t *text) join(other *text) {
	t.b, t.at = append(t.b, other.b...), append(t.at, other.at...)
}

func (t *text) unknown(at int) { t.add(at, []byte(string(unknown))...) }

// known reports whether all of it is known.
func (t *text) known() bool { return !strings.ContainsRune(string(t.b), unknown) }

// place returns where the byte at i of the text is written.
func (t *text) place(i int) int {
	switch {
	case i < len(t.at):
		return t.at[i]
	case len(t.at) > 0:
		return t.at[len(t.at)-1] + 1
	}
	return 0
}

// verbatim reports whether the bytes from i to j are written as they are, one by one,
// so that something can be put between them.
func (t *text) verbatim(src *source, i, j int) bool {
	if i < 0 || j > len(t.b) || i >= j {
		return false
	}
	for k := i; k < j; k++ {
		if t.at[k] != t.at[i]+k-i || t.at[k] >= len(src.text) || src.text[t.at[k]] != t.b[k] {
			return false
		}
	}
	return true
}

// wholeText is the text of a script that is a file of its own.
func wholeText(b []byte) *text {
	t := &text{b: b, at: make([]int, len(b))}
	for i := range t.at {
		t.at[i] = i
	}
	return t
}

// maxFollow is how many constants an expression is followed through.
const maxFollow = 8

// eval returns what is known of a string, or of lines in a list. It returns nil when x
// can be neither.
func (f *file) eval(x syntax.Expr, depth int) *text {
	at, _ := f.span(x)
	t := &text{}
	switch x := x.(type) {
	case *syntax.ParenExpr:
		return f.eval(x.X, depth)
	case *syntax.Literal:
		if x.Token != syntax.STRING {
			return nil
		}
		return f.literal(x)
	case *syntax.ListExpr:
		for i, e := range x.List {
			if i > 0 {
				t.add(t.place(len(t.b)), '\n')
			}
			t.join(f.part(e, depth))
		}
		return t
	case *syntax.BinaryExpr:
		switch x.Op {
		case syntax.PLUS:
			t.join(f.part(x.X, depth))
			if _, list := x.Y.(*syntax.ListExpr); list {
				t.add(t.place(len(t.b)), '\n')
			}
			t.join(f.part(x.Y, depth))
			return t
		case syntax.PERCENT:
			return f.percent(x, depth)
		}
	case *syntax.CallExpr:
		return f.method(x, depth)
	case *syntax.Ident:
		if value := f.constant(x); value != nil && depth < maxFollow {
			return f.eval(value, depth+1)
		}
	}
	t.unknown(at)
	return t
}

// part is eval of a part of a text.
func (f *file) part(x syntax.Expr, depth int) *text {
	if t := f.eval(x, depth); t != nil {
		return t
	}
	at, _ := f.span(x)
	t := &text{}
	t.unknown(at)
	return t
}

// constant returns the value of a variable that is assigned once, at the top level.
func (f *file) constant(id *syntax.Ident) syntax.Expr {
	b := bindingOf(id)
	if b == nil || b.First == nil {
		return nil
	}
	return f.constants()[b.First]
}

// constants are the values of variables that are assigned once, at the top level and
// in no loop, by their first binding.
func (f *file) constants() map[*syntax.Ident]syntax.Expr {
	if f.consts != nil {
		return f.consts
	}
	f.consts = map[*syntax.Ident]syntax.Expr{}
	times := map[*syntax.Ident]int{}
	syntax.Walk(f.tree, func(n syntax.Node) bool {
		if s, ok := n.(*syntax.AssignStmt); ok {
			for _, id := range targetsOf(s.LHS) {
				if b := bindingOf(id); b != nil && b.First != nil {
					times[b.First]++
				}
			}
		}
		return true
	})
	for _, s := range f.tree.Stmts {
		if s, ok := s.(*syntax.AssignStmt); ok && s.Op == syntax.EQ {
			if id, ok := s.LHS.(*syntax.Ident); ok && times[id] == 1 {
				f.consts[id] = s.RHS
			}
		}
	}
	return f.consts
}

// percent is a format with the operator %.
func (f *file) percent(x *syntax.BinaryExpr, depth int) *text {
	format := f.part(x.X, depth)
	args := []syntax.Expr{x.Y}
	if tuple, ok := unparen(x.Y).(*syntax.TupleExpr); ok {
		args = tuple.List
	}
	t := &text{}
	next := 0
	for i := 0; i < len(format.b); i++ {
		c := format.b[i]
		if c != '%' || i+1 == len(format.b) {
			t.add(format.at[i], c)
			continue
		}
		i++
		if format.b[i] == '%' {
			t.add(format.at[i], '%')
			continue
		}
		if format.b[i] == '(' { // by name: its end is the verb
			for i < len(format.b)-1 && format.b[i] != ')' {
				i++
			}
			i = min(i+1, len(format.b)-1)
			t.unknown(format.at[i])
			continue
		}
		if next < len(args) && format.b[i] == 's' {
			t.join(f.part(args[next], depth+1))
		} else {
			t.unknown(format.at[i])
		}
		next++
	}
	return t
}

// method is a call that makes a text: of format, join, strip or dedent.
func (f *file) method(call *syntax.CallExpr, depth int) *text {
	at, _ := f.span(call)
	t := &text{}
	dot, ok := call.Fn.(*syntax.DotExpr)
	if !ok {
		t.unknown(at)
		return t
	}
	switch dot.Name.Name {
	case "format":
		return f.braces(f.part(dot.X, depth))
	case "join":
		if len(call.Args) == 1 {
			if list, ok := unparen(call.Args[0]).(*syntax.ListExpr); ok {
				sep := f.part(dot.X, depth)
				for i, e := range list.List {
					if i > 0 {
						t.join(sep)
					}
					t.join(f.part(e, depth))
				}
				return t
			}
		}
	}
	t.unknown(at)
	return t
}

// braces is a text with what stands in braces replaced.
func (f *file) braces(format *text) *text {
	t := &text{}
	for i := 0; i < len(format.b); i++ {
		c := format.b[i]
		twice := i+1 < len(format.b) && format.b[i+1] == c
		switch {
		case (c == '{' || c == '}') && twice:
			t.add(format.at[i], c)
			i++
		case c == '{':
			for i < len(format.b)-1 && format.b[i] != '}' {
				i++
			}
			t.unknown(format.at[i])
		default:
			t.add(format.at[i], c)
		}
	}
	return t
}

func unparen(x syntax.Expr) syntax.Expr {
	for {
		p, ok := x.(*syntax.ParenExpr)
		if !ok {
			return x
		}
		x = p.X
	}
}

// literal is a string as it is written.
func (f *file) literal(x *syntax.Literal) *text {
	at := f.offset(x.TokenPos)
	raw := x.Raw
	value, _ := x.Value.(string)
	t := &text{}
	isRaw := strings.HasPrefix(raw, "r")
	raw = strings.TrimPrefix(raw, "r")
	n := 1
	if len(raw) >= 6 && raw[1] == raw[0] && raw[2] == raw[0] {
		n = 3
	}
	if len(raw) < 2*n {
		return t
	}
	start := at + len(x.Raw) - len(raw) + n
	body := raw[n : len(raw)-n]
	for i := 0; i < len(body); {
		size := 1
		var b []byte
		switch {
		case body[i] == '\\' && !isRaw:
			b, size = escape(body[i:])
		case strings.HasPrefix(body[i:], "\r\n"): // as the language reads it
			b, size = []byte{'\n'}, 2
		default:
			b = []byte{body[i]}
		}
		t.add(start+i, b...)
		i += size
	}
	if string(t.b) != value { // some other escape: what it says is right, where it stands is a guess
		t = &text{}
		t.add(start, []byte(value)...)
	}
	return t
}

// escape returns the bytes that an escape at the beginning of s stands for, and its
// length.
func escape(s string) ([]byte, int) {
	if len(s) < 2 {
		return []byte(s), len(s)
	}
	if s[1] == '\n' {
		return nil, 2
	}
	c, _, tail, err := strconv.UnquoteChar(s, 0)
	if err != nil {
		return []byte{s[1]}, 2 // such as \' and \"
	}
	size := len(s) - len(tail)
	if s[1] == 'u' || s[1] == 'U' {
		return utf8.AppendRune(nil, c), size
	}
	return []byte{byte(c)}, size
}

// dedent is what shell does with a text: it drops a first empty line and what all
// lines that are not blank begin with in blanks.
func (t *text) dedent() *text {
	s := string(t.b)
	if !strings.Contains(s, "\n") {
		return t
	}
	start := 0
	if first, _, _ := strings.Cut(s, "\n"); strings.TrimSpace(first) == "" {
		start = len(first) + 1
	}
	lines := strings.SplitAfter(s[start:], "\n")
	margin := -1
	for _, line := range lines {
		if rest := strings.TrimLeft(line, " \t"); strings.TrimSpace(rest) != "" {
			if n := len(line) - len(rest); margin < 0 || n < margin {
				margin = n
			}
		}
	}
	out := &text{}
	for _, line := range lines {
		cut := min(max(margin, 0), len(line)-len(strings.TrimLeft(line, " \t")))
		out.b = append(out.b, t.b[start+cut:start+len(line)]...)
		out.at = append(out.at, t.at[start+cut:start+len(line)]...)
		start += len(line)
	}
	return out
}
