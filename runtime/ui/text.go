package ui

import (
	"bytes"
	"fmt"
	"time"

	"github.com/mattn/go-runewidth"

	"bake.build/bake/internal/printable"
)

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
			each(printable.Line(l.part))
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
	return printable.Line(l.part), len(l.part) > 0
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
