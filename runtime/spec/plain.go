package spec

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A Renderer writes an error as users read it; source returns the text of the files that
// its positions name.
type Renderer func(w io.Writer, err error, source func(file string) ([]byte, error)) error

// rendered returns the failures of a test as text.
func (r Result) rendered(render Renderer) (string, error) {
	var b strings.Builder
	for i, err := range r.Errors {
		if i > 0 {
			b.WriteByte('\n')
		}
		if err := render(&b, err, r.Source); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// A plain report is for people.
type plain struct {
	w       io.Writer
	render  Renderer
	verbose bool
	paint   func(s Status, text string) string

	file    string // whose tests are being told
	count   Summary
	elapsed time.Duration
}

// NewPlain returns a Reporter that writes a line for each file, and what has failed. With
// verbose it writes a line for each test, and the logs. paint colours a text; it may be nil.
func NewPlain(w io.Writer, render Renderer, verbose bool, paint func(s Status, text string) string) Reporter {
	if paint == nil {
		paint = func(_ Status, text string) string { return text }
	}
	return &plain{w: w, render: render, verbose: verbose, paint: paint}
}

var words = map[Status]string{Passed: "ok  ", Failed: "FAIL", Skipped: "skip"}

func (p *plain) Begin(int) error { return nil }

func (p *plain) Result(r Result) error {
	if p.file != r.Show {
		if err := p.endFile(); err != nil {
			return err
		}
		p.file, p.count, p.elapsed = r.Show, Summary{}, 0
	}
	p.elapsed += r.Elapsed
	switch r.Status {
	case Passed:
		p.count.Passed++
	case Skipped:
		p.count.Skipped++
	default:
		p.count.Failed++
	}
	if r.Status == Failed || p.verbose {
		name := r.ID()
		if r.Reason != "" {
			name += ": " + r.Reason
		}
		if _, err := fmt.Fprintf(p.w, "%s  %s  %s\n", p.paint(r.Status, words[r.Status]), name, seconds(r.Elapsed)); err != nil {
			return err
		}
	}
	text, err := r.rendered(p.render)
	if err == nil && text != "" {
		_, err = io.WriteString(p.w, text)
	}
	if err == nil && len(r.Log) > 0 && (r.Status == Failed || p.verbose) {
		_, err = fmt.Fprintf(p.w, "log:\n  %s\n", strings.ReplaceAll(strings.Join(r.Log, "\n"), "\n", "\n  "))
	}
	return err
}

// endFile writes the line of a file.
func (p *plain) endFile() error {
	if p.file == "" {
		return nil
	}
	status := Passed
	if p.count.Failed > 0 {
		status = Failed
	} else if p.count.Passed == 0 {
		status = Skipped
	}
	_, err := fmt.Fprintf(p.w, "%s  %s  %s  %s\n", p.paint(status, words[status]), p.file, p.count, seconds(p.elapsed))
	return err
}

func (p *plain) End(s Summary) error {
	if err := p.endFile(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.w, "%s in %s\n", s, seconds(s.Elapsed))
	return err
}

// String counts the tests in words.
func (s Summary) String() string {
	text := fmt.Sprintf("%d tests", s.Total())
	if s.Total() == 1 {
		text = "1 test"
	}
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Failed)
	}
	if s.Skipped > 0 {
		text += fmt.Sprintf(", %d skipped", s.Skipped)
	}
	return text
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }
