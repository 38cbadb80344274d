package lint

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// Schema names what WriteJSON writes.
const Schema = "bake.lint/1"

// A Result is what WriteJSON writes.
type Result struct {
	Schema   string       `json:"schema"` // see Schema
	Findings []ResultItem `json:"findings"`
}

// A ResultItem is a Finding for programs.
type ResultItem struct {
	Rule      string   `json:"rule"`
	Severity  Severity `json:"severity"`
	File      string   `json:"file"`
	Line      int      `json:"line"`
	Column    int      `json:"column"`
	EndLine   int      `json:"end_line"`
	EndColumn int      `json:"end_column"`
	Message   string   `json:"message"`
	Hint      string   `json:"hint,omitempty"`
	Fixable   bool     `json:"fixable,omitempty"`
}

// WriteJSON writes findings as one JSON object.
func WriteJSON(w io.Writer, findings []Finding) error {
	r := Result{Schema: Schema, Findings: []ResultItem{}}
	for _, f := range findings {
		r.Findings = append(r.Findings, ResultItem{f.Rule, f.Severity, filepath.ToSlash(f.File), f.Line, f.Col, f.EndLine, f.EndCol, f.Message, f.Hint, len(f.Fix) > 0})
	}
	return encode(w, r)
}

func encode(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// WriteGitHub writes findings as the commands from which GitHub's workflows make
// annotations; see "Workflow commands for GitHub Actions".
func WriteGitHub(w io.Writer, findings []Finding) error {
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	for _, f := range findings {
		text := f.Message
		if f.Hint != "" {
			text += "\n" + f.Hint
		}
		_, err := fmt.Fprintf(w, "::%s file=%s,line=%d,col=%d,endLine=%d,endColumn=%d,title=%s::%s\n",
			f.Severity, property.Replace(filepath.ToSlash(f.File)), f.Line, f.Col, f.EndLine, f.EndCol, property.Replace(f.Rule), data.Replace(text))
		if err != nil {
			return err
		}
	}
	return nil
}
