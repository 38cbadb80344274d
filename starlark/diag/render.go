package diag

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"bake.build/bake/internal/printable"
	"bake.build/bake/runtime/plan"
	"github.com/mattn/go-runewidth"
)

// Options say how errors are shown.
type Options struct {
	Color bool
	// Source returns the text of a file that positions name. When it is nil or
	// fails, no line is shown. See (*eval.Project).Source.
	Source func(file string) ([]byte, error)
}

// maxLog is how many lines of a log are shown.
const maxLog = 20

// Render writes the diagnostics of err to w.
func Render(w io.Writer, err error, o Options) error {
	r := &renderer{Options: o}
	for i, d := range Of(err) {
		if i > 0 {
			r.b.WriteByte('\n')
		}
		r.diagnostic(d)
	}
	_, werr := io.WriteString(w, r.b.String())
	return werr
}

// Show writes one diagnostic to w.
func Show(w io.Writer, d Diagnostic, o Options) error {
	r := &renderer{Options: o}
	r.diagnostic(d)
	_, err := io.WriteString(w, r.b.String())
	return err
}

type renderer struct {
	Options
	b strings.Builder
}

const (
	bold  = "1"
	red   = "1;31"
	green = "1;32"
	dim   = "2"
	cyan  = "36"
)

func (r *renderer) paint(color, s string) string {
	if !r.Color || s == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

func (r *renderer) line(format string, args ...any) {
	fmt.Fprintf(&r.b, format+"\n", args...)
}

// diagnostic shows d. What a step has printed comes first, so that what matters
// stands where the eye is: at the end.
func (r *renderer) diagnostic(d Diagnostic) {
	d = d.printable()
	r.log(d)
	stack, folded := fold(d.Stack)
	head, rest, _ := strings.Cut(d.Message, "\n")
	if len(stack) == 0 {
		r.line("%s %s", r.paint(red, "error:"), r.paint(bold, head))
	} else {
		r.line("%s %s", r.paint(bold, stack[0].String()+":"), r.paint(red, head))
	}
	if rest != "" {
		for line := range strings.Lines(rest) {
			r.line("  %s", strings.TrimRight(line, "\n"))
		}
	}
	if len(stack) > 0 {
		r.excerpt(stack[0])
	}
	r.calls(stack, folded)
	if d.LogPath != "" {
		r.line("full log: %s", r.paint(cyan, d.LogPath))
	}
	if d.Hint != "" {
		r.line("%s %s", r.paint(green, "hint:"), d.Hint)
	}
}

// fold takes the frames of libraries out of a stack. Where an error begins in
// a library, it is shown at the line of the project that called it, and folded
// says which library functions are in between. An error of the library's file
// itself, outside of its functions, is shown where it is.
func fold(stack []plan.Pos) (kept []plan.Pos, folded map[int][]string) {
	if len(stack) == 0 || stack[0].Func == "" {
		return stack, nil
	}
	folded = map[int][]string{}
	for _, p := range stack {
		if strings.HasPrefix(p.File, "@") {
			name := p.File
			if !shipped(p.File) {
				name += fmt.Sprintf(":%d", p.Line) // which its team wants to know
			}
			if p.Func != "" {
				name += " " + p.Func
			}
			folded[len(kept)] = append(folded[len(kept)], name)
			continue
		}
		kept = append(kept, p)
	}
	if len(kept) == 0 {
		return stack, nil
	}
	return kept, folded
}

// shipped reports whether a file is of the library that bake ships.
func shipped(file string) bool { return strings.HasPrefix(file, "@bake//") }

func (r *renderer) calls(stack []plan.Pos, folded map[int][]string) {
	foreign := slices.ContainsFunc(folded[0], func(name string) bool { return !shipped(name) })
	if len(stack) == 0 || len(stack) == 1 && !foreign && !strings.HasPrefix(stack[0].File, "@") {
		return // that the shipped library was on the way is no news
	}
	r.line("%s", r.paint(dim, "call stack, innermost first:"))
	for i, p := range stack {
		if names := folded[i]; len(names) > 0 {
			r.line("  %s", r.paint(dim, "("+strings.Join(names, ", ")+")"))
		}
		in := ""
		if p.Func != "" {
			in = " in " + p.Func
		}
		r.line("  %s%s", p, in)
	}
}

// excerpt shows the line of p with a caret below the column.
func (r *renderer) excerpt(p plan.Pos) {
	if r.Source == nil || p.Line < 1 {
		return
	}
	text, err := r.Source(p.File)
	if err != nil {
		return
	}
	line, ok := lineOf(text, p.Line)
	if !ok {
		return
	}
	number := fmt.Sprintf("%5d", p.Line)
	r.line("%s %s", r.paint(dim, number+" |"), strings.ReplaceAll(shown(line), "\t", "    "))
	if p.Col < 1 {
		return
	}
	r.line("%s %s%s", r.paint(dim, "      |"), strings.Repeat(" ", indent(line, p.Col)), r.paint(red, "^"))
}

func lineOf(text []byte, n int) (string, bool) {
	lines := strings.Split(string(text), "\n")
	if n > len(lines) {
		return "", false
	}
	return strings.TrimRight(lines[n-1], "\r"), true
}

// shown returns a line of source as it can be shown. What is dropped takes no
// cell, so that the caret stays where it belongs.
func shown(line string) string {
	return strings.Map(func(c rune) rune {
		if c == '\t' || printable.Shown(c) {
			return c
		}
		return -1
	}, line)
}

// indent returns how many cells the characters before column col take; Starlark
// counts columns in code points, from 1.
func indent(line string, col int) int {
	cells, at := 0, 1
	for _, c := range line {
		if at >= col {
			break
		}
		if c == '\t' {
			cells += 4
		} else {
			cells += runewidth.RuneWidth(c)
		}
		at++
	}
	return cells
}

func (r *renderer) log(d Diagnostic) {
	tail := d.Log
	if len(tail) > maxLog {
		tail = tail[len(tail)-maxLog:]
	}
	if len(tail) > 0 {
		r.line("%s", r.paint(dim, fmt.Sprintf("last %s of the log:", plural(len(tail)))))
		for _, line := range tail {
			r.line("  %s %s", r.paint(dim, "|"), line)
		}
	}
}

func plural(n int) string {
	if n == 1 {
		return "line"
	}
	return fmt.Sprintf("%d lines", n)
}
