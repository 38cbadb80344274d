package spec

import (
	"encoding/json"
	"errors"
	"io"
	"strings"

	"bake.build/bake/internal/printable"
	"bake.build/bake/runtime/build"
	"bake.build/bake/starlark/diag"
)

// Schema is the version of Line. It is raised when a field changes its meaning or goes;
// fields that are added leave it alone.
const Schema = "bake.test/1"

// A Line is one line of what bake test --format json writes. A field that does not apply
// is left out.
type Line struct {
	Type    string    `json:"type"`             // "begin", "test" or "end"
	Schema  string    `json:"schema,omitempty"` // of begin
	Total   int       `json:"total,omitempty"`  // of begin and end: how many tests
	File    string    `json:"file,omitempty"`
	Name    string    `json:"name,omitempty"` // of the function
	Line    int       `json:"line,omitempty"`
	Status  Status    `json:"status,omitempty"`
	Reason  string    `json:"reason,omitempty"` // why it was skipped
	Errors  []Failure `json:"errors,omitempty"`
	Log     []string  `json:"log,omitempty"`
	Passed  int       `json:"passed,omitempty"` // of end
	Failed  int       `json:"failed,omitempty"`
	Skipped int       `json:"skipped,omitempty"`
	Elapsed float64   `json:"elapsed,omitempty"` // seconds
}

// A Failure is what failed in a test.
type Failure struct {
	Message string                      `json:"message"`        // one line, or several
	Pos     []build.PositionDescription `json:"pos,omitempty"`  // the call stack, innermost first
	Hint    string                      `json:"hint,omitempty"` // what may help
}

// A jsonReport writes lines of JSON.
type jsonReport struct{ w io.Writer }

// NewJSON returns a Reporter for programs.
func NewJSON(w io.Writer) Reporter { return &jsonReport{w} }

func (j *jsonReport) write(l Line) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = j.w.Write(printable.JSON(append(text, '\n')))
	return err
}

func (j *jsonReport) Begin(total int) error {
	return j.write(Line{Type: "begin", Schema: Schema, Total: total})
}

func (j *jsonReport) Result(r Result) error {
	l := Line{
		Type: "test", File: r.Show, Name: r.Name, Line: r.Line, Status: r.Status, Reason: r.Reason,
		Log: r.Log, Elapsed: r.Elapsed.Seconds(),
	}
	for _, d := range diag.Of(errors.Join(r.Errors...)) {
		f := Failure{Message: strings.Join(append([]string{d.Message}, d.Log...), "\n"), Hint: d.Hint}
		for _, p := range d.Stack {
			f.Pos = append(f.Pos, build.PositionDescription{File: p.File, Line: p.Line, Column: p.Col, Function: p.Func})
		}
		l.Errors = append(l.Errors, f)
	}
	return j.write(l)
}

func (j *jsonReport) End(s Summary) error {
	return j.write(Line{Type: "end", Total: s.Total(), Passed: s.Passed, Failed: s.Failed, Skipped: s.Skipped, Elapsed: s.Elapsed.Seconds()})
}
