package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"bake.build/bake/builtins/reference"
	"bake.build/bake/builtins/reference/site"
	"bake.build/bake/docs"
	"bake.build/bake/internal/markdown"
)

// writeSite writes the site of bake's own documentation, or that of files and folders.
// The reference is in both, so that the names in code lead somewhere.
func (a *app) writeSite(ctx context.Context, targets []string, dir string) error {
	b, err := a.book()
	if err != nil {
		return err
	}
	s := &site.Site{Title: "bake", Book: b}
	if len(targets) == 0 {
		if err := ownPages(s); err != nil {
			return err
		}
	} else if err := a.modulePages(ctx, s, targets); err != nil {
		return err
	}
	s.Pages = append(s.Pages, site.Page{
		Name: "reference", Group: "Reference", Title: "All names", Summary: "Every name that there is documentation of.", Text: "# All names\n" + names(b),
	})
	if err := s.Write(a.abs(dir)); err != nil {
		return coded(exitUsage, err)
	}
	fmt.Fprintln(a.stdout, a.rel(path.Join(a.abs(dir), "index.html")))
	return nil
}

// ownPages adds the pages of bake's own documentation.
func ownPages(s *site.Site) error {
	for _, p := range docs.Pages() {
		text, err := p.Text()
		if err != nil {
			return err
		}
		s.Pages = append(s.Pages, site.Page{Name: p.Name, Group: p.Group, Title: p.Title, Summary: p.Summary, Text: text})
	}
	return nil
}

// modulePages adds the Starlark files of the targets and the pages that lie beside them:
// README.md, which is where one arrives, and docs/*.md.
func (a *app) modulePages(ctx context.Context, s *site.Site, targets []string) error {
	s.Title = strings.Join(targets, ", ")
	var own []*reference.Section
	var index strings.Builder
	for _, target := range targets {
		t, err := a.docTree(ctx, target)
		if err != nil {
			return err
		}
		for _, f := range t.files {
			own = append(own, reference.File(f))
		}
		if err := t.pages(s, &index); err != nil {
			return err
		}
	}
	if index.Len() == 0 {
		index.WriteString("# " + s.Title + "\n")
	}
	index.WriteString("\n" + names(&reference.Book{Sections: own}))
	s.Pages = append([]site.Page{{Name: "index", Group: "Start", Title: s.Title, Text: index.String()}}, s.Pages...)
	var rest []*reference.Section
	for _, sec := range s.Book.Sections {
		if !hasSection(own, sec.Name) {
			rest = append(rest, sec)
		}
	}
	s.Book.Sections = append(own, rest...)
	return nil
}

func hasSection(list []*reference.Section, name string) bool {
	for _, s := range list {
		if s.Name == name {
			return true
		}
	}
	return false
}

// pages adds the pages of a folder, and writes its README.md to index.
func (t *docTree) pages(s *site.Site, index *strings.Builder) error {
	readme, err := fs.ReadFile(t.FS, path.Join(t.under, "README.md"))
	if err == nil {
		index.WriteString(string(readme) + "\n")
	} else if !errors.Is(err, fs.ErrNotExist) && !strings.HasSuffix(t.under, ".star") {
		return err
	}
	files, err := fs.Glob(t.FS, path.Join(t.under, "docs", "*.md"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := fs.ReadFile(t.FS, file)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(path.Base(file), ".md")
		title := name
		for _, block := range markdown.Parse(string(text)) {
			if block.Kind == markdown.Heading && block.Level == 1 {
				title = markdown.Plain(block.Inline)
				break
			}
		}
		s.Pages = append(s.Pages, site.Page{Name: name, Group: "Guides", Title: title, Text: string(text)})
	}
	return nil
}
