package reference

import (
	"slices"
	"strings"

	"bake.build/bake/internal/spell"
	"bake.build/bake/starlark/doc"
)

// A Book is a reference.
type Book struct {
	Sections []*Section `json:"sections"`
}

// A Section is a chapter of a Book, such as that of one file.
type Section struct {
	Name    string  `json:"name"`  // what it is asked for by, such as "platforms" or "@bake//debian.star"
	Title   string  `json:"title"` // its heading
	Doc     string  `json:"doc,omitempty"`
	Entries []Entry `json:"entries,omitempty"`

	// Head is set where the entries are rows of one table: what heads its columns.
	Head []string `json:"-"`
}

// The kinds of entries.
const (
	Command  = "command"
	Function = "function"
	Platform = "platform"
	Format   = "format"
	Value    = "value"
	Other    = "other" // an exit code, a variable of the environment, a form of names
)

// An Entry documents one name.
type Entry struct {
	Name      string        `json:"name"`
	Kind      string        `json:"kind"`
	Title     string        `json:"title,omitempty"` // its heading, where that is not the name
	Signature string        `json:"signature,omitempty"`
	Summary   string        `json:"summary,omitempty"` // one sentence
	Doc       string        `json:"doc,omitempty"`     // further paragraphs, Markdown
	Groups    []Group       `json:"groups,omitempty"`
	Returns   string        `json:"returns,omitempty"`
	Examples  []doc.Example `json:"examples,omitempty"`
	File      string        `json:"file,omitempty"`
	Line      int           `json:"line,omitempty"`
}

// A Group is a table of options.
type Group struct {
	Title   string   `json:"title,omitempty"`
	What    string   `json:"what"` // what an option is here: "argument", "option" or "flag"
	Options []Option `json:"options"`
}

// An Option is an argument, an option of a platform or a flag.
type Option struct {
	Name     string   `json:"name"`
	Type     string   `json:"type,omitempty"`
	Help     string   `json:"help,omitempty"` // Markdown
	Choices  []string `json:"choices,omitempty"`
	Default  string   `json:"default,omitempty"`
	Required bool     `json:"required,omitempty"`
}

// Heading returns what heads the entry.
func (e Entry) Heading() string {
	if e.Title != "" {
		return e.Title
	}
	return e.Name
}

// A Match is what was found of a name.
type Match struct {
	Section *Section
	Entry   *Entry // nil for the section itself
	Option  string // the option of the entry that was asked for, or ""
}

// Find returns what is called name, the one that is most likely meant first: sections by
// their names or titles, entries by theirs, commands also without "bake", what a struct of
// functions has ("apt"), and options of an entry ("aws.region").
func (b *Book) Find(name string) []Match {
	name = strings.TrimSuffix(strings.TrimSpace(name), "()")
	var out, commands []Match
	for _, s := range b.Sections {
		if strings.EqualFold(s.Name, name) || strings.EqualFold(s.Title, name) {
			out = append(out, Match{Section: s})
		}
		for i := range s.Entries {
			switch e := &s.Entries[i]; {
			case strings.EqualFold(e.Name, name):
				out = append(out, Match{Section: s, Entry: e})
			case e.Kind == Command && e.Name == "bake "+name:
				commands = append(commands, Match{Section: s, Entry: e})
			}
		}
	}
	if out = append(out, commands...); len(out) > 0 {
		return out
	}
	if out = b.members(name); len(out) > 0 {
		return out
	}
	of, option, ok := cutLast(name)
	if !ok {
		return nil
	}
	for _, m := range b.Find(of) {
		if m.Entry != nil && m.Option == "" && slices.Contains(m.Entry.options(), option) {
			out = append(out, Match{m.Section, m.Entry, option})
		}
	}
	return out
}

// members returns, for each section that has functions of the struct called name, a
// section of those alone, or itself where it has no others.
func (b *Book) members(name string) (out []Match) {
	for _, s := range b.Sections {
		only := &Section{Name: s.Name, Title: name, Doc: "Of `" + s.Name + "`."}
		for _, e := range s.Entries {
			if e.Kind == Function && strings.HasPrefix(e.Name, name+".") {
				only.Entries = append(only.Entries, e)
			}
		}
		switch len(only.Entries) {
		case 0:
		case len(s.Entries):
			out = append(out, Match{Section: s})
		default:
			out = append(out, Match{Section: only})
		}
	}
	return out
}

// options returns the names of the entry's options.
func (e *Entry) options() (names []string) {
	for _, g := range e.Groups {
		for _, o := range g.Options {
			names = append(names, o.Name)
		}
	}
	return names
}

// Nearest returns what can be found that is most likely meant by name, or "".
func (b *Book) Nearest(name string, others ...string) string {
	names := others
	base, _, dotted := cutLast(name)
	for _, s := range b.Sections {
		names = append(names, s.Name)
		for i := range s.Entries {
			e := &s.Entries[i]
			names = append(names, e.Name)
			if member, _, ok := cutLast(e.Name); ok && e.Kind == Function {
				names = append(names, member)
			}
			if dotted && spell.Nearest(base, []string{e.Name}) != "" {
				for _, o := range e.options() {
					names = append(names, e.Name+"."+o)
				}
			}
		}
	}
	return spell.Nearest(name, names)
}

// cutLast parts a name at its last dot.
func cutLast(name string) (before, after string, found bool) {
	if dot := strings.LastIndex(name, "."); dot >= 0 {
		return name[:dot], name[dot+1:], true
	}
	return name, "", false
}
