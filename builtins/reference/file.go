package reference

import (
	"slices"
	"strings"

	"bake.build/bake/starlark/doc"
)

// File makes the section of a Starlark file.
func File(f *doc.File) *Section {
	s := &Section{Name: f.Name, Title: f.Name, Doc: paragraphs(f.Doc.Summary, mayLoad(f.Visibility), f.Doc.Text, deprecated(f.Doc), examples(apart(f.Doc)))}
	for _, x := range f.Symbols {
		s.Entries = append(s.Entries, symbol(x))
	}
	return s
}

// mayLoad says who may load a file, where not everybody may.
func mayLoad(visibility []string) string {
	switch {
	case len(visibility) == 0:
		return ""
	case slices.Equal(visibility, []string{"private"}):
		return "Only the files beside it may load this file."
	}
	return "Only the files beside it and those of its module in `" + strings.Join(visibility, "`, `") + "` may load this file."
}

// paragraphs joins paragraphs of Markdown that are not empty.
func paragraphs(texts ...string) string {
	var out []string
	for _, t := range texts {
		if t = strings.TrimSpace(t); t != "" {
			out = append(out, t)
		}
	}
	return strings.Join(out, "\n\n")
}

func deprecated(d doc.Docstring) string {
	if d.Deprecated == "" {
		return ""
	}
	return "**Deprecated:** " + d.Deprecated
}

// examples shows what the sections of a docstring have as examples.
func examples(list []doc.Example) string {
	var b strings.Builder
	for i, e := range list {
		if i == 0 {
			b.WriteString("Example:\n\n")
		}
		b.WriteString("```python\n" + e.Code + "```\n\n")
	}
	return strings.TrimSpace(b.String())
}

// apart returns the examples of sections; those between fences are in the text already.
func apart(d doc.Docstring) []doc.Example {
	var out []doc.Example
	for _, e := range d.Examples {
		if !e.Fenced {
			out = append(out, e)
		}
	}
	return out
}

func symbol(x doc.Symbol) Entry {
	e := Entry{
		Name: x.Name, Kind: Function, Summary: x.Doc.Summary, Doc: paragraphs(x.Doc.Text, deprecated(x.Doc)),
		Returns: x.Doc.Returns, Examples: apart(x.Doc), File: x.File, Line: x.Line,
	}
	if x.Kind == doc.Value {
		e.Kind, e.Signature = Value, x.Name+" = "+x.Value
		return e
	}
	args := make([]string, len(x.Params))
	help := map[string]string{}
	for _, a := range x.Doc.Args {
		help[a.Name] = a.Help
	}
	group := Group{What: "argument"}
	for i, p := range x.Params {
		args[i] = p.Name
		if p.Default != "" {
			args[i] += " = " + p.Default
		}
		if p.Name == "*" || len(x.Doc.Args) == 0 {
			continue
		}
		o := Option{Name: p.Name, Help: help[p.Name], Default: p.Default, Required: p.Default == "" && !strings.HasPrefix(p.Name, "*")}
		group.Options = append(group.Options, o)
	}
	e.Signature = call(x.Name, args, "")
	if len(group.Options) > 0 {
		e.Groups = []Group{group}
	}
	return e
}
