package doc

import "strings"

// A Docstring is the documentation of a file or of a function.
type Docstring struct {
	Summary    string    `json:"summary,omitempty"`    // the first paragraph, on one line
	Text       string    `json:"text,omitempty"`       // further paragraphs, Markdown
	Args       []Arg     `json:"args,omitempty"`       // section "Args:"
	Returns    string    `json:"returns,omitempty"`    // section "Returns:", Markdown
	Deprecated string    `json:"deprecated,omitempty"` // section "Deprecated:", Markdown
	Examples   []Example `json:"examples,omitempty"`   // sections "Example:", and fenced Starlark

	line      int // of the file where the text begins; 0 when there is none
	multiline bool
	escaped   bool // some of its lines end in a \n that is written so
}

// An Arg documents a parameter. The name has the stars of *args and **kwargs.
type Arg struct {
	Name string `json:"name"`
	Help string `json:"help,omitempty"`
	line int
}

// An Example is Starlark that a docstring or a page shows.
type Example struct {
	Code string `json:"code"`
	Line int    `json:"line"` // of its first line

	Fenced bool `json:"-"` // it is a part of the text
}

// The sections of a docstring, by the names that are usual for them.
var sections = map[string]string{
	"Args:": "Args", "Arguments:": "Args", "Parameters:": "Args",
	"Returns:": "Returns", "Return:": "Returns",
	"Example:": "Example", "Examples:": "Example",
	"Deprecated:": "Deprecated", "DEPRECATED:": "Deprecated",
}

// A line of a docstring, without the indentation of all.
type line struct {
	text   string
	number int // of the file
}

// parseDocstring reads a docstring that begins in the line first of its file.
func parseDocstring(text string, first int) Docstring {
	d := Docstring{line: first, multiline: strings.Contains(strings.TrimSpace(text), "\n")}
	var body []line
	section, fence := "", ""
	var held []line // lines of section
	end := func() {
		d.section(section, held)
		section, held = "", nil
	}
	for _, l := range dedent(text, first) {
		if mark := fenceOf(l.text); mark != "" && section == "" {
			switch {
			case fence == "":
				fence = mark
			case strings.HasPrefix(mark, fence):
				fence = ""
			}
		}
		name, begins := sections[strings.TrimRight(l.text, " ")]
		switch {
		case begins && fence == "":
			end()
			section = name
		case section != "" && (l.text == "" || l.text[0] == ' '):
			held = append(held, l)
		default:
			if section != "" {
				end()
			}
			body = append(body, l)
		}
	}
	end()
	d.paragraphs(body)
	return d
}

func fenceOf(text string) string {
	t := strings.TrimSpace(text)
	if n := len(t) - len(strings.TrimLeft(t, "`")); n >= 3 {
		return t[:n]
	}
	return ""
}

// dedent takes the indentation off that all lines but the first have, and blank lines
// at both ends.
func dedent(text string, first int) []line {
	lines := strings.Split(strings.ReplaceAll(text, "\t", "    "), "\n")
	margin := -1
	for _, l := range lines[1:] {
		if t := strings.TrimLeft(l, " "); t != "" && (margin < 0 || len(l)-len(t) < margin) {
			margin = len(l) - len(t)
		}
	}
	out := make([]line, len(lines))
	for i, l := range lines {
		switch {
		case i == 0:
			l = strings.TrimLeft(l, " ")
		case margin > 0:
			l = l[min(margin, len(l)-len(strings.TrimLeft(l, " "))):]
		}
		out[i] = line{strings.TrimRight(l, " "), first + i}
	}
	return trim(out)
}

// trim returns lines without those at both ends that are blank.
func trim(lines []line) []line {
	for len(lines) > 0 && lines[0].text == "" {
		lines = lines[1:]
	}
	for len(lines) > 0 && lines[len(lines)-1].text == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func join(lines []line) string {
	texts := make([]string, len(lines))
	for i, l := range lines {
		texts[i] = l.text
	}
	return strings.Join(texts, "\n")
}

// indented takes the indentation of a section's lines off.
func indented(lines []line) []line {
	lines = trim(lines)
	margin := -1
	for _, l := range lines {
		if t := strings.TrimLeft(l.text, " "); t != "" && (margin < 0 || len(l.text)-len(t) < margin) {
			margin = len(l.text) - len(t)
		}
	}
	out := make([]line, len(lines))
	for i, l := range lines {
		out[i] = line{l.text[min(max(margin, 0), len(l.text)):], l.number}
	}
	return out
}

func (d *Docstring) section(name string, lines []line) {
	lines = indented(lines)
	switch name {
	case "Args":
		d.args(lines)
	case "Returns":
		d.Returns = join(lines)
	case "Deprecated":
		d.Deprecated = join(lines)
	case "Example":
		if fenced := fences(lines, true); len(fenced) > 0 {
			d.Examples = append(d.Examples, fenced...)
		} else if len(lines) > 0 {
			d.Examples = append(d.Examples, Example{Code: join(lines) + "\n", Line: lines[0].number})
		}
	}
}

// args reads lines of "name: help", and what is indented further below them.
func (d *Docstring) args(lines []line) {
	for _, l := range lines {
		text := strings.TrimSpace(l.text)
		name, help, ok := strings.Cut(text, ":")
		name, _, _ = strings.Cut(name, " (") // Google's style has types: name (string):
		if ok && !strings.HasPrefix(l.text, " ") && !strings.ContainsAny(strings.TrimSpace(name), " `") {
			d.Args = append(d.Args, Arg{strings.TrimSpace(name), strings.TrimSpace(help), l.number})
			continue
		}
		if n := len(d.Args); n > 0 {
			d.Args[n-1].Help = strings.TrimSpace(d.Args[n-1].Help + "\n" + text)
		}
	}
}

func (d *Docstring) paragraphs(lines []line) {
	lines = trim(lines)
	n := 0
	for n < len(lines) && lines[n].text != "" && fenceOf(lines[n].text) == "" {
		n++
	}
	d.Summary = strings.ReplaceAll(join(lines[:n]), "\n", " ")
	d.Text = join(trim(lines[n:]))
	d.Examples = append(d.Examples, fences(lines, false)...)
}

// starlarks are the names of the language behind fences.
var starlarks = map[string]bool{"python": true, "starlark": true, "star": true, "bzl": true}

// fences returns the blocks of Starlark between fences; any also those that have no
// language.
func fences(lines []line, any bool) []Example {
	var out []Example
	mark, keep := "", false
	var held []line
	for _, l := range lines {
		m := fenceOf(l.text)
		switch {
		case mark == "" && m != "":
			lang := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(l.text), m))
			mark, keep, held = m, starlarks[lang] || any && lang == "", nil
		case mark != "" && strings.HasPrefix(m, mark):
			if held = indented(held); keep && len(held) > 0 {
				out = append(out, Example{Code: join(held) + "\n", Line: held[0].number, Fenced: !any})
			}
			mark = ""
		case mark != "":
			held = append(held, l)
		}
	}
	return out
}
