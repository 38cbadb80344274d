package markdown

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// An InlineKind is a kind of text.
type InlineKind int

// The kinds of text.
const (
	Text InlineKind = iota
	Span            // code
	Emphasis
	Strong
	Link
	Image
	Break
	Cell // of a table
)

// An Inline is a part of a paragraph.
type Inline struct {
	Kind   InlineKind
	Text   string   // of Text, a Span, and an Image, which it describes
	Dest   string   // of a Link or Image
	Inline []Inline // of Emphasis, Strong, a Link or a Cell
}

// Plain returns what inlines say, without marks.
func Plain(list []Inline) string {
	var b strings.Builder
	for _, x := range list {
		if x.Kind == Break {
			b.WriteByte(' ')
		}
		b.WriteString(x.Text + Plain(x.Inline))
	}
	return b.String()
}

// Links calls visit for each link and image.
func Links(blocks []Block, visit func(b Block, x Inline)) {
	Walk(blocks, func(b Block) {
		eachLink(b, b.Inline, visit)
		for _, row := range b.Rows {
			eachLink(b, row, visit)
		}
	})
}

func eachLink(b Block, list []Inline, visit func(b Block, x Inline)) {
	for _, x := range list {
		if x.Kind == Link || x.Kind == Image {
			visit(b, x)
		}
		eachLink(b, x.Inline, visit)
	}
}

// An inliner goes through the text of a paragraph.
type inliner struct {
	text string
	at   int
	out  []Inline
	run  strings.Builder // text that is not yet in out
	// absent holds marks of which it is known that no other one follows: what has
	// been looked for in vain is not looked for again, so that hostile text takes
	// linear time.
	absent map[string]bool
}

// deepest bounds how deep links and emphasis may be nested.
const deepest = 20

func inlines(text string) []Inline { return nested(text, 0) }

func nested(text string, depth int) []Inline {
	if depth > deepest {
		return []Inline{{Kind: Text, Text: text}}
	}
	s := &inliner{text: text, absent: map[string]bool{}}
	for s.at < len(s.text) {
		s.step(depth)
	}
	s.flush()
	return s.out
}

func (s *inliner) flush() {
	if s.run.Len() > 0 {
		s.out = append(s.out, Inline{Kind: Text, Text: s.run.String()})
		s.run.Reset()
	}
}

func (s *inliner) add(x Inline, end int) {
	s.flush()
	s.out = append(s.out, x)
	s.at = end
}

const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

func (s *inliner) step(depth int) {
	rest := s.text[s.at:]
	switch c := rest[0]; {
	case c == '\\' && len(rest) > 1 && rest[1] == '\n':
		s.add(Inline{Kind: Break}, s.at+2)
	case c == '\\' && len(rest) > 1 && strings.IndexByte(punctuation, rest[1]) >= 0:
		s.run.WriteByte(rest[1])
		s.at += 2
	case c == '`':
		s.span()
	case strings.HasPrefix(rest, "  \n"):
		s.add(Inline{Kind: Break}, s.at+3)
	case c == '!' && len(rest) > 1 && rest[1] == '[' && s.link(s.at+1, depth):
	case c == '[' && s.link(s.at, depth):
	case c == '<' && s.auto():
	case (c == '*' || c == '_') && s.emphasis(depth):
	case c == '*' || c == '_':
		n := len(rest) - len(strings.TrimLeft(rest, rest[:1]))
		s.run.WriteString(rest[:n])
		s.at += n
	default:
		s.run.WriteByte(c)
		s.at++
	}
}

// span reads `code`, or the backquotes as text when they do not end.
func (s *inliner) span() {
	rest := s.text[s.at:]
	n := len(rest) - len(strings.TrimLeft(rest, "`"))
	fence := rest[:n]
	if end := s.closing(fence, s.at+n); end >= 0 {
		code := strings.ReplaceAll(s.text[s.at+n:end], "\n", " ")
		if len(code) > 2 && code[0] == ' ' && code[len(code)-1] == ' ' && strings.TrimSpace(code) != "" {
			code = code[1 : len(code)-1]
		}
		s.add(Inline{Kind: Span, Text: code}, end+n)
		return
	}
	s.run.WriteString(fence)
	s.at += n
}

// closing returns where exactly the backquotes of fence stand, from the index from on.
func (s *inliner) closing(fence string, from int) int {
	if s.absent[fence] {
		return -1
	}
	for from < len(s.text) {
		i := strings.IndexByte(s.text[from:], '`')
		if i < 0 {
			break
		}
		from += i
		n := len(s.text[from:]) - len(strings.TrimLeft(s.text[from:], "`"))
		if n == len(fence) {
			return from
		}
		from += n
	}
	s.absent[fence] = true
	return -1
}

// auto reads <https://…>.
func (s *inliner) auto() bool {
	rest := s.text[s.at+1:]
	end := strings.IndexAny(rest, "> \n<")
	if end < 0 || rest[end] != '>' {
		return false
	}
	dest := rest[:end]
	if !strings.HasPrefix(dest, "http://") && !strings.HasPrefix(dest, "https://") {
		return false
	}
	s.add(Inline{Kind: Link, Dest: dest, Inline: []Inline{{Kind: Text, Text: dest}}}, s.at+end+2)
	return true
}

// link reads [text](destination), with open at the bracket.
func (s *inliner) link(open, depth int) bool {
	end := s.bracket(open)
	if end < 0 || end+1 >= len(s.text) || s.text[end+1] != '(' {
		return false
	}
	dest, after, ok := destination(s.text[end+2:])
	if !ok {
		return false
	}
	text := s.text[open+1 : end]
	x := Inline{Kind: Link, Dest: dest}
	if open > s.at {
		x.Kind, x.Text = Image, Plain(nested(text, depth+1))
	} else {
		x.Inline = nested(text, depth+1)
	}
	s.add(x, end+2+after)
	return true
}

// bracket returns where the bracket that is opened at open is closed, or -1.
func (s *inliner) bracket(open int) int {
	if s.absent["]"] {
		return -1
	}
	level := 0
	for i := open; i < len(s.text); i++ {
		switch s.text[i] {
		case '\\':
			i++
		case '`':
			n := len(s.text[i:]) - len(strings.TrimLeft(s.text[i:], "`"))
			if end := s.closing(s.text[i:i+n], i+n); end >= 0 {
				i = end
			}
			i += n - 1
		case '[':
			level++
		case ']':
			if level--; level == 0 {
				return i
			}
		}
	}
	s.absent["]"] = true
	return -1
}

// destination reads "https://… "title")" behind the parenthesis of a link, and returns
// how long it is.
func destination(text string) (dest string, length int, ok bool) {
	level := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\n':
			return "", 0, false
		case '(':
			level++
		case ')':
			if level--; level < 0 {
				dest, title, _ := strings.Cut(strings.TrimSpace(text[:i]), " ")
				if title = strings.TrimSpace(title); title != "" && strings.Trim(title, `"`) == title {
					return "", 0, false
				}
				return strings.Trim(dest, "<>"), i + 1, true
			}
		}
	}
	return "", 0, false
}

// emphasis reads *text* or **text**. An underscore is one only at the borders of words.
func (s *inliner) emphasis(depth int) bool {
	rest := s.text[s.at:]
	c := rest[:1]
	lengths := []int{1, 2} // that of ***both*** is outside
	if n := len(rest) - len(strings.TrimLeft(rest, c)); n < 3 {
		lengths = []int{n}
	}
	before, _ := utf8.DecodeLastRuneInString(s.text[:s.at])
	if s.at == 0 {
		before = ' '
	}
	for _, n := range lengths {
		if len(rest) <= n || unicode.IsSpace(rune(rest[n])) || c == "_" && wordy(before) || s.absent[rest[:n]] {
			continue
		}
		if end := s.ends(rest[:n], s.at+n); end > 0 {
			kind := Emphasis
			if n == 2 {
				kind = Strong
			}
			s.add(Inline{Kind: kind, Inline: nested(s.text[s.at+n:end], depth+1)}, end+n)
			return true
		}
		s.absent[rest[:n]] = true
	}
	return false
}

func wordy(c rune) bool { return unicode.IsLetter(c) || unicode.IsNumber(c) || c == '_' }

// ends returns where the marks end the emphasis that is open, or -1.
func (s *inliner) ends(marks string, from int) int {
	for i := from; i < len(s.text); i++ {
		switch s.text[i] {
		case '\\':
			i++
		case '`':
			n := len(s.text[i:]) - len(strings.TrimLeft(s.text[i:], "`"))
			if end := s.closing(s.text[i:i+n], i+n); end >= 0 {
				i = end
			}
			i += n - 1
		case marks[0]:
			n := len(s.text[i:]) - len(strings.TrimLeft(s.text[i:], marks[:1]))
			after, _ := utf8.DecodeRuneInString(s.text[i+n:])
			if (n == len(marks) || n == 3) && i > from && !unicode.IsSpace(rune(s.text[i-1])) && (marks[0] != '_' || !wordy(after)) {
				return i + n - len(marks)
			}
			i += n - 1
		}
	}
	return -1
}
