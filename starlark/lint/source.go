package lint

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"go.starlark.net/syntax"
)

// A source is the text of a file, with the way from bytes to lines and back.
type source struct {
	name  string // as positions show it
	path  string // as it is opened
	text  []byte
	lines []int // where each line begins
}

func newSource(name, path string, text []byte) *source {
	s := &source{name: name, path: path, text: text, lines: []int{0}}
	for i, c := range text {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// place returns the line and the column, in code points, of the byte at offset.
func (s *source) place(offset int) (line, col int) {
	offset = min(offset, len(s.text))
	i, exact := slices.BinarySearch(s.lines, offset)
	if !exact {
		i--
	}
	return i + 1, utf8.RuneCount(s.text[s.lines[i]:offset]) + 1
}

// offset returns the byte at a position of the parser.
func (s *source) offset(p syntax.Position) int {
	if p.Line < 1 || int(p.Line) > len(s.lines) {
		return len(s.text)
	}
	at := s.lines[p.Line-1]
	for range p.Col - 1 {
		if at >= len(s.text) || s.text[at] == '\n' {
			break
		}
		_, n := utf8.DecodeRune(s.text[at:])
		at += n
	}
	return at
}

// span returns the bytes of a node.
func (s *source) span(n syntax.Node) (start, end int) {
	from, to := n.Span()
	return s.offset(from), s.offset(to)
}

// lineRange returns the bytes of the whole lines that the range is on, with the end of
// the last one.
func (s *source) lineRange(start, end int) (int, int) {
	from := bytes.LastIndexByte(s.text[:start], '\n') + 1
	if i := bytes.IndexByte(s.text[end:], '\n'); i >= 0 {
		return from, end + i + 1
	}
	return from, len(s.text)
}
