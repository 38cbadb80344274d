package doc

import (
	"fmt"
	"slices"
	"strings"

	"bake.build/bake/internal/spell"
)

// A Finding is what is wrong with the documentation of a file.
type Finding struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

// String shows a finding as compilers do.
func (f Finding) String() string { return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text) }

// Check returns what is wrong with the docstrings of f: public functions without one,
// sections that do not match the parameters, and results that are not described. As with
// buildifier, a docstring of one line needs no sections.
func (f *File) Check() []Finding {
	var out []Finding
	seen := map[string]bool{}
	for _, s := range f.Symbols {
		name := s.Name
		if s.private != "" {
			name = s.private
		}
		if s.Kind != Function || s.File != f.Name || seen[name] {
			continue
		}
		seen[name] = true
		out = append(out, s.check()...)
	}
	return out
}

func (s Symbol) check() []Finding {
	d := s.Doc
	at := func(line int, format string, args ...any) Finding {
		return Finding{s.File, line, s.Name + ": " + fmt.Sprintf(format, args...)}
	}
	if d.line == 0 {
		return []Finding{at(s.Line, "no docstring")}
	}
	if d.escaped { // its sections are not found
		return []Finding{at(d.line, `a \n in the docstring ends the line there: begin the docstring with r"""`)}
	}
	var out []Finding
	if d.Summary == "" {
		out = append(out, at(d.line, "the docstring does not begin with a sentence"))
	}
	var names []string
	for _, p := range s.Params {
		if p.Name != "*" {
			names = append(names, p.Name)
		}
	}
	documented := map[string]bool{}
	for _, a := range d.Args {
		switch {
		case documented[a.Name]:
			out = append(out, at(a.line, "Args: %s is documented twice", a.Name))
		case !slices.Contains(names, a.Name):
			out = append(out, at(a.line, "Args: there is no parameter %s%s", a.Name, meant(a.Name, names)))
		}
		documented[a.Name] = true
	}
	if !d.multiline {
		return out
	}
	for _, name := range names {
		if !documented[name] {
			out = append(out, at(d.line, "Args: parameter %s is not documented", name))
		}
	}
	if s.returns && d.Returns == "" {
		out = append(out, at(d.line, "Returns: it returns a value, which is not documented"))
	}
	return out
}

// meant says which of the names was probably meant.
func meant(name string, names []string) string {
	for _, n := range names {
		if strings.TrimLeft(n, "*") == name {
			return fmt.Sprintf(" (write %s)", n)
		}
	}
	if n := spell.Nearest(name, names); n != "" {
		return fmt.Sprintf(" (did you mean %s?)", n)
	}
	return ""
}
