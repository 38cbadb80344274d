package ui

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// clean returns one line of a step's output as it can be shown anywhere: without
// escape sequences and control characters, with tabs as spaces.
func clean(b []byte) string {
	plain := true
	for _, c := range b {
		if c < 0x20 || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
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
		case !shown(r):
		default:
			s.WriteRune(r)
			col += runewidth.RuneWidth(r)
		}
	}
	return s.String()
}

// shown reports whether r has no effect but to be seen. Marks that change the
// direction of text are dropped, since they can reorder what is beside them.
func shown(r rune) bool {
	if r == 0xfe0f { // makes some signs wider than they say
		return false
	}
	return !unicode.IsControl(r) && !unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
}

// escape returns the length of the escape sequence that b begins with, or 0. A
// sequence that does not end takes the rest of the line.
func escape(b []byte) int {
	if b[0] != 0x1b {
		return 0
	}
	if len(b) == 1 {
		return 1
	}
	switch b[1] {
	case '[': // a control sequence ends with a byte of @ to ~
		for i := 2; i < len(b); i++ {
			if b[i] >= 0x40 && b[i] <= 0x7e {
				return i + 1
			}
		}
		return len(b)
	case ']', 'P', 'X', '^', '_': // a string ends with BEL or ESC \
		for i := 2; i < len(b); i++ {
			if b[i] == 0x07 {
				return i + 1
			}
			if b[i] == 0x1b && i+1 < len(b) && b[i+1] == '\\' {
				return i + 2
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

// maxLine is how many bytes of one line are shown.
const maxLine = 4096

// lines cuts a stream into lines. A carriage return begins the line again, as
// progress displays do, so that of each line the last state is shown.
type lines struct {
	part []byte
	cr   bool // the line begins again with the next byte
}

// write calls each with every line that b ends.
func (l *lines) write(b []byte, each func(line string)) {
	for len(b) > 0 {
		i := bytes.IndexAny(b, "\r\n")
		if i < 0 {
			l.add(b)
			return
		}
		l.add(b[:i])
		if b[i] == '\n' {
			each(clean(l.part))
			l.part, l.cr = l.part[:0], false
		} else {
			l.cr = true
		}
		b = b[i+1:]
	}
}

func (l *lines) add(b []byte) {
	if len(b) == 0 {
		return
	}
	if l.cr {
		l.part, l.cr = l.part[:0], false
	}
	l.part = append(l.part, b[:min(len(b), max(0, maxLine-len(l.part)))]...)
}

// rest returns the line that has not ended, and whether there is one.
func (l *lines) rest() (string, bool) {
	return clean(l.part), len(l.part) > 0
}

// columns returns how wide s is at most. Terminals differ in what they draw as
// one sign, so each character counts for itself.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runewidth.RuneWidth(r)
	}
	return n
}

// fit cuts s to width columns, with a sign where something was left out.
func fit(s string, width int, more string) string {
	if columns(s) <= width {
		return s
	}
	room := width - columns(more)
	if room < 0 {
		return ""
	}
	for i, r := range s {
		if room -= runewidth.RuneWidth(r); room < 0 {
			return s[:i] + more
		}
	}
	return s
}

// oneLine makes s a single line.
func oneLine(s string) string {
	return clean([]byte(strings.Join(strings.Fields(s), " ")))
}

// took writes a duration for users: "0.4s", "12.3s", "2m05s", "1h02m".
func took(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute-50*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour-500*time.Millisecond:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
}

// Size writes a number of bytes with a binary unit: "812 B", "1.4 MiB".
func Size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f /= 1024; f < 99.95 {
			return fmt.Sprintf("%.1f %s", f, unit)
		} else if f < 1023.5 {
			return fmt.Sprintf("%.0f %s", f, unit)
		}
	}
	return fmt.Sprintf("%.0f PiB", f/1024)
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
