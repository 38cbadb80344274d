package spec

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A tap report is in the Test Anything Protocol, version 13.
type tap struct {
	w      io.Writer
	render Renderer
	number int
}

// NewTAP returns a Reporter for programs that read TAP 13, such as prove.
func NewTAP(w io.Writer, render Renderer) Reporter { return &tap{w: w, render: render} }

func (t *tap) Begin(total int) error {
	_, err := fmt.Fprintf(t.w, "TAP version 13\n1..%d\n", total)
	return err
}

func (t *tap) Result(r Result) error {
	t.number++
	word := "ok"
	if r.Status == Failed {
		word = "not ok"
	}
	line := fmt.Sprintf("%s %d - %s", word, t.number, strings.ReplaceAll(oneLine(r.ID()), "#", `\#`))
	if r.Status == Skipped {
		line += " # SKIP " + oneLine(r.Reason)
	}
	if _, err := fmt.Fprintln(t.w, line); err != nil {
		return err
	}
	if r.Status == Failed {
		if err := t.diagnostics(r); err != nil {
			return err
		}
	}
	for _, text := range r.Log {
		if _, err := fmt.Fprintf(t.w, "# %s\n", strings.ReplaceAll(text, "\n", "\n# ")); err != nil {
			return err
		}
	}
	return nil
}

// diagnostics writes the block of YAML that follows a failure.
func (t *tap) diagnostics(r Result) error {
	text, err := r.rendered(t.render)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.w, "  ---\n  file: %s\n  line: %d\n  message: |\n    %s\n  ...\n",
		strconv.Quote(r.Show), r.Line, strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    "))
	return err
}

func (t *tap) End(s Summary) error {
	_, err := fmt.Fprintf(t.w, "# %s in %s\n", s, seconds(s.Elapsed))
	return err
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
