package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bake.build/bake/builtins/reference"
	"bake.build/bake/docs"
	"bake.build/bake/internal/markdown"
	"bake.build/bake/runtime/build"
)

// docFlags are those of bake doc.
type docFlags struct {
	format string
	site   string
	check  bool
}

func (a *app) docCommand() *cobra.Command {
	f := &docFlags{}
	cmd := &cobra.Command{
		Use:   "doc [TARGET] [NAME]",
		Short: "show documentation",
		Long: `Shows the documentation of a function, a struct of them (apt, and t of tests), a
platform, a format, a command, one of their options (export.formats), a page
(platforms, json) or one of its headings, or of Starlark files: a file of the library
(@bake//debian.star), of a module (@acme//golden.star), of this project
(lib/users.star), or a folder of them. A second argument names one function of a
file. Without arguments it lists what there is.

With --site it writes a site of static pages, which works without a server: bake's
own documentation, or that of the files and folders that are named, with README.md and
docs/*.md beside them.

With --check it reports docstrings that do not match their functions, and evaluates
the examples in them to a plan; nothing is built. An example sees the names of its
file, and the layers layer and base.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.doc(cmd.Context(), args, f)
		},
	}
	cmd.Flags().StringVar(&f.format, "format", "text", "text, markdown or json")
	cmd.Flags().StringVar(&f.site, "site", "", "write a site into a `directory`, which is empty or holds an earlier one")
	cmd.Flags().BoolVar(&f.check, "check", false, "check docstrings, and evaluate their examples")
	return cmd
}

func (a *app) doc(ctx context.Context, args []string, f *docFlags) error {
	switch {
	case !slices.Contains([]string{"text", "markdown", "json"}, f.format):
		return coded(exitUsage, fmt.Errorf("--format %s: want one of text, markdown, json", f.format))
	case f.site != "" && f.check:
		return coded(exitUsage, errors.New("bake doc: --site and --check exclude each other"))
	case f.site != "":
		return a.writeSite(ctx, args, f.site)
	case f.check:
		return a.checkDocs(ctx, args)
	}
	b, err := a.book()
	if err != nil {
		return err
	}
	switch {
	case len(args) == 0:
		return a.showDoc(f, index(b), b)
	case isDocFile(args[0]) || a.isFile(args[0]) && len(b.Find(args[0])) == 0:
		return a.docFiles(ctx, b, args, f)
	}
	return a.docName(b, strings.Join(args, " "), f)
}

// showDoc writes Markdown, or what is the same as data.
func (a *app) showDoc(f *docFlags, text string, data any) error {
	switch f.format {
	case "json":
		enc := json.NewEncoder(a.stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(data)
	case "text":
		style := markdown.Style{Width: 80}
		if width := columnsOf(a.stdout); width > 0 {
			style = markdown.Style{Width: min(max(width, 40), 100), Color: a.colorOn(a.stdout)}
		}
		text = markdown.Show(markdown.Parse(text), style)
	}
	_, err := io.WriteString(a.stdout, text)
	return err
}

// index lists what there is documentation of.
func index(b *reference.Book) string {
	var out strings.Builder
	out.WriteString("# Documentation\n\n`bake doc NAME` shows one of these.\n\n## Pages\n\n")
	for _, p := range docs.Pages() {
		line(&out, p.Name, p.Summary)
	}
	out.WriteString("\n" + names(b))
	return out.String()
}

// line lists a name with the first sentence of a text.
func line(out *strings.Builder, name, text string) {
	text, _, _ = strings.Cut(strings.ReplaceAll(text, "\n", " "), ". ")
	if text = strings.TrimSuffix(text, "."); text != "" {
		text = ": " + text + "."
	}
	fmt.Fprintf(out, "- `%s`%s\n", name, text)
}

// names lists what a book documents.
func names(b *reference.Book) string {
	var out strings.Builder
	for _, s := range b.Sections {
		if s.Head != nil && s.Name != "formats" {
			continue
		}
		fmt.Fprintf(&out, "\n## %s\n\n", s.Title)
		for _, e := range s.Entries {
			name := e.Name
			if e.Kind == reference.Platform {
				name += "()"
			}
			line(&out, name, cmp.Or(e.Summary, e.Doc))
		}
	}
	return out.String()
}

// docName shows what is called name in the book, or the page of that name.
func (a *app) docName(b *reference.Book, name string, f *docFlags) error {
	matches := b.Find(name)
	if len(matches) == 0 {
		return a.docPage(b, name, f)
	}
	also := others(matches[1:])
	if also != "" {
		also = "\nSee also " + also + ".\n"
	}
	m := matches[0]
	if m.Entry == nil {
		return a.showDoc(f, m.Section.Markdown(1)+also, m.Section)
	}
	e := *m.Entry
	if m.Option != "" {
		e = e.Only(m.Option)
	}
	text := e.Markdown(1)
	if e.Kind == reference.Function && strings.HasPrefix(e.File, "@") {
		base, _, _ := strings.Cut(e.Name, ".")
		text += fmt.Sprintf("\n```python\nload(%q, %q)\n```\n", e.File, base)
	}
	return a.showDoc(f, text+also, e)
}

// others names further matches, as they are asked for.
func others(matches []reference.Match) string {
	var names []string
	for _, m := range matches {
		switch {
		case m.Entry == nil:
			names = append(names, "`bake doc "+m.Section.Name+"`")
		case m.Entry.Kind == reference.Command:
			names = append(names, "`bake doc "+m.Entry.Name+"`")
		default:
			names = append(names, fmt.Sprintf("`%s` in `bake doc %s`", m.Entry.Name, m.Section.Name))
		}
	}
	return strings.Join(names, ", ")
}

// docPage shows a page, what stands below one of its headings, or what stands below the
// first heading of any page that says name.
func (a *app) docPage(b *reference.Book, name string, f *docFlags) error {
	page, anchor, _ := strings.Cut(name, "#")
	page = strings.TrimSuffix(page, ".md")
	var names []string
	heading := markdown.Anchor(name)
	below, in := "", docs.Page{}
	for _, p := range docs.Pages() {
		names = append(names, p.Name)
		text, err := p.Text()
		if err != nil {
			return err
		}
		switch {
		case p.Name == page && anchor == "":
			return a.showDoc(f, text, p)
		case p.Name == page:
			part := markdown.Part(text, anchor)
			if part == "" {
				return coded(exitUsage, fmt.Errorf("bake doc: the page %s has no %q", page, anchor))
			}
			return a.showDoc(f, part, p)
		case below == "":
			below, in = markdown.Part(text, heading), p
		}
	}
	if below != "" {
		return a.showDoc(f, below, in)
	}
	err := fmt.Errorf("bake doc: there is no documentation of %q", name)
	if near := b.Nearest(name, names...); near != "" {
		err = fmt.Errorf("%w (did you mean %s?)", err, near)
	}
	return coded(exitUsage, build.WithHint(err, "bake doc lists what there is"))
}
