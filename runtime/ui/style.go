package ui

import (
	"fmt"
	"strings"
	"time"

	"bake.build/bake/internal/printable"
)

// A style draws with the signs and the colours that the terminal has.
type style struct {
	color bool
	utf8  bool
}

type sign int

const (
	signDone sign = iota
	signFailed
	signCached
	signStopped
	signWarning
	signFile
)

const spin = 100 * time.Millisecond

func (s style) sign(g sign) string {
	switch g {
	case signDone:
		return s.paint("32", s.pick("✓", "+"))
	case signFailed:
		return s.paint("1;31", s.pick("✗", "x"))
	case signCached:
		return s.paint("2", s.pick("•", "="))
	case signStopped:
		return s.paint("33", s.pick("–", "-"))
	case signWarning:
		return s.paint("33", "!")
	}
	return s.paint("36", s.pick("→", ">"))
}

func (s style) spinner(elapsed time.Duration) string {
	frames := []rune(s.pick("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", `|/-\`))
	return s.paint("36", string(frames[int(max(elapsed, 0)/spin)%len(frames)]))
}

func (s style) pick(utf8, ascii string) string {
	if s.utf8 {
		return utf8
	}
	return ascii
}

func (s style) more() string { return s.pick("…", "~") }
func (s style) dot() string  { return s.pick(" · ", " - ") }

// paint gives text the attributes, which hold for it alone.
func (s style) paint(attributes, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + attributes + "m" + text + "\x1b[m"
}

func (s style) dim(text string) string  { return s.paint("2", text) }
func (s style) bold(text string) string { return s.paint("1", text) }

// text makes what came from outside fit for the terminal.
func (s style) text(t string) string {
	t = printable.OneLine(t)
	if s.utf8 {
		return t
	}
	return strings.Map(func(r rune) rune {
		if r > 0x7e {
			return '?'
		}
		return r
	}, t)
}

// row draws a sign, a name, a dim note behind it and something at the right end
// of width columns. What does not fit is cut from the note first.
func (s style) row(sign, name, note, right string, width int) string {
	return s.rowOf(sign, name, note, right, width, func(name string) string { return name })
}

// quietRow is a row with a dim name.
func (s style) quietRow(sign, name, right string, width int) string {
	return s.rowOf(sign, name, "", right, width, s.dim)
}

func (s style) rowOf(sign, name, note, right string, width int, paint func(string) string) string {
	room := width - 2
	if right != "" {
		room -= columns(right) + 1
	}
	name = fit(name, room, s.more())
	used := columns(name)
	if room-used < 6 {
		note = "" // too little of it to be read
	} else if note != "" {
		note = "  " + fit(note, room-used-2, s.more())
		used += columns(note)
	}
	line := sign + " " + paint(name) + s.dim(note)
	if right != "" && room >= used {
		line += strings.Repeat(" ", room-used+1) + s.dim(right)
	}
	return line
}

// bar draws how much of a whole is done in width columns.
func (s style) bar(done, total int64, width int) string {
	if total <= 0 || width <= 0 {
		return ""
	}
	full := int(float64(width) * float64(min(max(done, 0), total)) / float64(total))
	return s.paint("32", strings.Repeat(s.pick("━", "#"), full)) +
		s.dim(strings.Repeat(s.pick("─", "."), width-full))
}

func percent(done, total int64) string {
	if total <= 0 {
		return ""
	}
	return fmt.Sprintf("%3d%%", int64(100*(float64(min(max(done, 0), total))/float64(total))))
}
