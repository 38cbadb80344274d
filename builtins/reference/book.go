package reference

import (
	"strings"

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

// Find returns what is called name: a section, an entry, "bake build" and "build" for a
// command, or "export.formats" for an option of an entry. What is nearest comes first.
func (b *Book) Find(name string) []Match {
	name = strings.TrimSuffix(strings.TrimSpace(name), "()")
	var out, commands []Match
	for _, s := range b.Sections {
		if strings.EqualFold(s.Name, name) {
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
	dot := strings.LastIndex(name, ".")
	if dot < 0 {
		return nil
	}
	for _, m := range b.Find(name[:dot]) {
		if m.Entry != nil && m.Option == "" && m.Entry.has(name[dot+1:]) {
			out = append(out, Match{m.Section, m.Entry, name[dot+1:]})
		}
	}
	return out
}

func (e *Entry) has(option string) bool {
	for _, g := range e.Groups {
		for _, o := range g.Options {
			if o.Name == option {
				return true
			}
		}
	}
	return false
}

// Names returns all names that Find knows.
func (b *Book) Names() []string {
	var names []string
	for _, s := range b.Sections {
		names = append(names, s.Name)
		for _, e := range s.Entries {
			names = append(names, e.Name)
		}
	}
	return names
}
