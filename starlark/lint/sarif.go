package lint

import (
	"io"
	"net/url"
	"path/filepath"
)

// The parts of SARIF 2.1.0 that are written; see
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID       string      `json:"id"`
		Short    sarifText   `json:"shortDescription"`
		Full     sarifText   `json:"fullDescription"` // which GitHub requires
		Help     sarifText   `json:"help"`
		Defaults sarifConfig `json:"defaultConfiguration"`
	}
	sarifConfig struct {
		Level Severity `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     Severity        `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
		EndLine     int `json:"endLine"`
		EndColumn   int `json:"endColumn"`
	}
)

// WriteSARIF writes findings as a log of SARIF 2.1.0. version is that of the program.
func WriteSARIF(w io.Writer, version string, rules []Rule, findings []Finding) error {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "bake", Version: version, Rules: []sarifRule{}}
	for _, r := range rules {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{r.Name, sarifText{firstSentence(r.Doc)}, sarifText{r.Doc}, sarifText{r.Doc}, sarifConfig{r.Severity}})
	}
	for _, f := range findings {
		text := f.Message
		if f.Hint != "" {
			text += "; " + f.Hint
		}
		at := sarifPhysical{sarifArtifact{uriOf(f.File)}, sarifRegion{f.Line, f.Col, f.EndLine, f.EndCol}}
		run.Results = append(run.Results, sarifResult{f.Rule, f.Severity, sarifText{text}, []sarifLocation{{at}}})
	}
	return encode(w, sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}

// uriOf returns the reference of a file: relative, or absolute with its scheme.
func uriOf(file string) string {
	u := url.URL{Path: filepath.ToSlash(file)}
	if filepath.IsAbs(file) {
		u.Scheme = "file"
	}
	return u.String()
}

// firstSentence returns the beginning of a documentation, to its first full stop or
// colon.
func firstSentence(doc string) string {
	for i := 0; i+1 < len(doc); i++ {
		if (doc[i] == '.' || doc[i] == ':') && doc[i+1] == ' ' {
			return doc[:i] + "."
		}
	}
	return doc
}
