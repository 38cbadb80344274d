package reference

import (
	"fmt"
	"strings"
)

// Markdown returns the book, without a title: a heading of level two for each section.
func (b *Book) Markdown() string {
	p := &page{}
	for _, s := range b.Sections {
		p.section(s, 2)
	}
	return p.text()
}

// Markdown returns the section, with a heading of the level.
func (s *Section) Markdown(level int) string {
	p := &page{}
	p.section(s, level)
	return p.text()
}

// Markdown returns the entry, with a heading of the level.
func (e Entry) Markdown(level int) string {
	p := &page{}
	p.entry(e, level)
	return p.text()
}

// Only returns the entry with no more than one of its options.
func (e Entry) Only(option string) Entry {
	only := Entry{Name: e.Name + "." + option, Kind: e.Kind}
	for _, g := range e.Groups {
		for _, o := range g.Options {
			if o.Name == option {
				only.Groups = append(only.Groups, Group{g.Title, g.What, []Option{o}})
			}
		}
	}
	return only
}

// A page is Markdown that grows.
type page struct{ b strings.Builder }

func (p *page) text() string { return strings.TrimLeft(p.b.String(), "\n") }

// block writes a paragraph, a heading or a list, or nothing.
func (p *page) block(text string) {
	if text != "" {
		p.b.WriteString("\n" + text + "\n")
	}
}

func (p *page) heading(level int, text string) {
	p.block(strings.Repeat("#", level) + " " + text)
}

func (p *page) section(s *Section, level int) {
	p.heading(level, s.Title)
	if s.Head == nil {
		p.block(s.Doc)
		for _, e := range s.Entries {
			p.entry(e, level+1)
		}
		return
	}
	p.block(s.Doc)
	var rows [][]string
	for _, e := range s.Entries {
		rows = append(rows, []string{code(e.Name), e.Summary})
	}
	p.table(s.Head, rows)
}

func (p *page) entry(e Entry, level int) {
	p.heading(level, e.Heading())
	if e.Signature != "" && e.Kind != Command {
		p.block("```python\n" + e.Signature + "\n```")
	}
	p.block(e.Summary)
	p.block(e.Doc)
	for _, g := range e.Groups {
		p.block(g.Title)
		p.options(g)
	}
	if e.Returns != "" && e.File != "" { // a builtin's signature says what it returns
		p.block("Returns " + lower(e.Returns))
	}
	p.block(examples(e.Examples))
}

// lower makes a sentence the end of another one.
func lower(s string) string {
	for _, article := range []string{"The ", "A ", "An "} {
		if strings.HasPrefix(s, article) {
			return strings.ToLower(s[:1]) + s[1:]
		}
	}
	return strings.TrimPrefix(s, "Returns ")
}

// options writes the table of a group.
func (p *page) options(g Group) {
	var rows [][]string
	for _, o := range g.Options {
		help := o.Help
		if len(o.Choices) > 0 {
			help += " One of `" + strings.Join(o.Choices, "`, `") + "`."
		}
		def := o.Default
		if o.Required {
			def = "required"
		} else if g.What == "flag" || o.Type == "" {
			def = code(def)
		}
		rows = append(rows, []string{code(o.Name), o.Type, help, def})
	}
	p.table([]string{g.What, "type", "meaning", "default"}, rows)
}

// table writes a table, or nothing when it has no rows. Columns that are empty
// throughout are left out.
func (p *page) table(head []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	var used []int
	for i := range head {
		for _, row := range rows {
			if row[i] != "" {
				used = append(used, i)
				break
			}
		}
	}
	p.b.WriteString("\n")
	line := func(cell func(i int) string) {
		for _, i := range used {
			fmt.Fprintf(&p.b, "| %s ", cell(i))
		}
		p.b.WriteString("|\n")
	}
	line(func(i int) string { return head[i] })
	line(func(int) string { return "---" })
	for _, row := range rows {
		line(func(i int) string { return cell(row[i]) })
	}
}

// cell makes text fit into one cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}

// plain makes text show as it is, where Markdown would see tags and emphasis.
func plain(s string) string {
	return strings.NewReplacer("<", "\\<", "*", "\\*").Replace(s)
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
