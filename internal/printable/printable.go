// Package printable makes text that came from outside harmless to a terminal:
// names of files, what steps and tools print, what definitions say. A terminal
// obeys escape sequences and control characters: they move the cursor, hide or
// forge lines, set the title and the clipboard, and on some terminals type
// commands.
//
// Colours go as well. They could hide what follows them, and what is shown has
// to be the same in a terminal, a file and a CI log. The colours that a user
// sees are bake's own, put around text that went through here.
package printable

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// Line returns one line of text without escape sequences and control characters,
// with tabs as spaces.
func Line(b []byte) string {
	if plain(b) {
		return string(b)
	}
	var s strings.Builder
	col := 0
	for len(b) > 0 {
		if n := escape(b); n > 0 {
			b = b[n:]
			continue
		}
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		switch {
		case r == '\t':
			for ok := true; ok; ok = col%8 != 0 {
				s.WriteByte(' ')
				col++
			}
		case !Shown(r):
		default:
			s.WriteRune(r)
			col += runewidth.RuneWidth(r)
		}
	}
	return s.String()
}

// OneLine makes any text a single line that is printable.
func OneLine(s string) string {
	return Line([]byte(strings.Join(strings.Fields(s), " ")))
}

// Text is Line for text of several lines.
func Text(s string) string {
	if !strings.Contains(s, "\n") {
		return Line([]byte(s))
	}
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = Line([]byte(l))
	}
	return strings.Join(lines, "\n")
}

// Name returns the name of a file as it can be shown. A name that a terminal
// would not show as it is becomes a quoted one, so that two names never look the
// same and none is two lines.
func Name(s string) string {
	for _, r := range s {
		if r == utf8.RuneError || !Shown(r) {
			return strconv.QuoteToASCII(s)
		}
	}
	return s
}

// JSON returns a JSON text with what a terminal obeys, which can only stand in
// its strings, written as \u escapes. It means the same.
func JSON(b []byte) []byte {
	if plain(bytes.TrimSuffix(b, []byte("\n"))) {
		return b
	}
	out := make([]byte, 0, len(b)+16)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == '\n' || Shown(r) {
			out = append(out, b[:n]...)
		} else {
			for _, unit := range utf16.Encode([]rune{r}) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
		}
		b = b[n:]
	}
	return out
}

// plain reports whether b is printable ASCII.
func plain(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c >= 0x7f {
			return false
		}
	}
	return true
}

// Shown reports whether r has no effect but to be seen. Marks that change the
// direction of text have one, since they can reorder what is beside them.
func Shown(r rune) bool {
	if r == 0xfe0f { // makes some signs wider than they say
		return false
	}
	return !unicode.IsControl(r) && !unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
}

// escape returns the length of the escape sequence that b begins with, or 0; see
// ECMA-48. A sequence that does not end takes the rest of b.
func escape(b []byte) int {
	kind, n := byte(0), 2
	switch {
	case b[0] == 0x1b && len(b) == 1:
		return 1
	case b[0] == 0x1b:
		kind = b[1]
	case b[0] == 0xc2 && len(b) > 1 && b[1] >= 0x80 && b[1] <= 0x9f: // C1, of one character in UTF-8
		if kind = b[1] - 0x40; strings.IndexByte("[]PX^_", kind) < 0 {
			return 2
		}
	default:
		return 0
	}
	switch kind {
	case '[': // a control sequence ends with a byte of @ to ~
		for ; n < len(b); n++ {
			if b[n] >= 0x40 && b[n] <= 0x7e {
				return n + 1
			}
		}
		return len(b)
	case ']', 'P', 'X', '^', '_': // a string ends with BEL or ST
		for ; n < len(b); n++ {
			switch {
			case b[n] == 0x07:
				return n + 1
			case n+1 < len(b) && (b[n] == 0x1b && b[n+1] == '\\' || b[n] == 0xc2 && b[n+1] == 0x9c):
				return n + 2
			}
		}
		return len(b)
	}
	i := 1
	for i < len(b) && b[i] >= 0x20 && b[i] <= 0x2f { // intermediate bytes
		i++
	}
	return min(i+1, len(b))
}
