package lint

import (
	"cmp"
	"slices"
)

// A Severity says how bad a finding is.
type Severity string

// The severities. An error fails when it is run.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// A Finding is one place where a rule does not hold.
type Finding struct {
	Rule     string
	Severity Severity
	File     string // as positions show it
	Line     int    // from 1
	Col      int    // in code points, from 1
	EndLine  int
	EndCol   int // behind the last code point
	Message  string
	Hint     string // what to do; may be ""
	Fix      []Edit // what --fix does; empty where that is not safe
}

// An Edit replaces a range of bytes of a file.
type Edit struct {
	Path       string // of the file, as it is opened
	Start, End int
	Text       string
}

// sortFindings puts findings in the order of files and lines.
func sortFindings(list []Finding) {
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Rule, b.Rule))
	})
}

// Sorted returns findings in the order of files and lines, each once: several
// definitions may name one script.
func Sorted(list []Finding) []Finding {
	sortFindings(list)
	return slices.CompactFunc(list, func(a, b Finding) bool {
		return a.Rule == b.Rule && a.File == b.File && a.Line == b.Line && a.Col == b.Col && a.Message == b.Message
	})
}

// Apply makes the edits of findings that are about the file at path in its text, from
// the first to the last. One that overlaps another is left for the next time. It
// returns how many findings are fixed.
func Apply(path string, text []byte, findings []Finding) (fixed []byte, n int) {
	type change struct {
		Edit
		of int
	}
	var all []change
	for i, f := range findings {
		for _, e := range f.Fix {
			if e.Path == path {
				all = append(all, change{e, i})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b change) int { return cmp.Compare(a.Start, b.Start) })
	done := map[int]bool{}
	last := 0
	for _, c := range all {
		if c.Start < last || c.End < c.Start || c.End > len(text) {
			continue
		}
		fixed = append(append(fixed, text[last:c.Start]...), c.Text...)
		last, done[c.of] = c.End, true
	}
	return append(fixed, text[last:]...), len(done)
}
