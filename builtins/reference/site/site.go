// Package site writes documentation as a folder of static pages.
//
// A site is plain HTML, one style sheet and one script of its own, which is for the
// search and for nothing else. It needs no server: names of files are relative, and
// the index of the search is a script too, since a page that is opened as a file may
// load scripts and nothing else. The same input gives the same bytes.
package site

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"bake.build/bake/builtins/reference"
	"bake.build/bake/internal/markdown"
)

//go:embed style.css search.js
var assets embed.FS

// A Page is a page that somebody wrote.
type Page struct {
	Name    string // of its file, without an extension; "index" is where one arrives
	Group   string // what it stands below in the list of pages
	Title   string
	Summary string
	Text    string // Markdown
}

// A Site is what is to be written.
type Site struct {
	Title string
	Pages []Page
	Book  *reference.Book
}

// A made page is one with a place in the site.
type made struct {
	Page
	file   string // such as "tutorial.html"
	blocks []markdown.Block
}

// marker lists the files of a site that bake wrote, so that it removes no others.
const marker = "bake-doc.txt"

// Write writes the site into dir, which is new, empty, or holds a site written earlier.
func (s *Site) Write(dir string) error {
	files, err := s.files()
	if err != nil {
		return fmt.Errorf("write site: %w", err)
	}
	old, err := earlier(dir)
	if err != nil {
		return fmt.Errorf("write site: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write site: %w", err)
	}
	var names []string
	for name, text := range files {
		names = append(names, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write site: %w", err)
		}
	}
	slices.Sort(names)
	for _, name := range old {
		if _, ok := files[name]; !ok {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("write site: %w", err)
			}
		}
	}
	return os.WriteFile(filepath.Join(dir, marker), []byte(strings.Join(names, "\n")+"\n"), 0o644)
}

// earlier returns the files of the site that is in dir, or an error when something else
// is there.
func earlier(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(filepath.Join(dir, marker))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds other files, and no site that was written earlier", dir)
	}
	var names []string
	for _, name := range strings.Fields(string(list)) {
		if name == filepath.Base(name) && filepath.IsLocal(name) {
			names = append(names, name)
		}
	}
	return names, err
}

// files returns the content of each file of the site.
func (s *Site) files() (map[string]string, error) {
	b := newBuilder(s)
	files := map[string]string{}
	for _, p := range b.pages {
		files[p.file] = b.page(p)
	}
	files["search-index.js"] = b.searchIndex()
	for _, name := range []string{"style.css", "search.js"} {
		text, err := assets.ReadFile(name)
		if err != nil {
			return nil, err
		}
		files[name] = string(text)
	}
	return files, nil
}

// The groups of pages that are made from the code.
const (
	groupReference = "Reference"
	groupLibrary   = "Library"
	groupFiles     = "Files"
)

// newBuilder gives every page its place, and every name what it leads to.
func newBuilder(s *Site) *builder {
	b := &builder{site: s, names: map[string]string{}, anchors: map[string]string{}}
	taken := map[string]bool{}
	add := func(p Page) *made {
		m := &made{Page: p, file: fileName(p.Name, taken), blocks: markdown.Parse(p.Text)}
		b.pages = append(b.pages, m)
		return m
	}
	for _, p := range s.Pages {
		add(p)
	}
	for _, sec := range s.Book.Sections {
		m := add(Page{Name: slug(sec), Group: groupOf(sec), Title: sec.Title, Text: sec.Markdown(1)})
		b.names[sec.Name] = m.file
		at := map[string]string{}
		for _, block := range m.blocks {
			if block.Kind == markdown.Heading {
				at[markdown.Plain(block.Inline)] = block.ID
				if _, taken := b.anchors[block.ID]; !taken {
					b.anchors[block.ID] = m.file + "#" + block.ID
				}
			}
		}
		for _, e := range sec.Entries {
			name := e.Name
			if e.Kind == reference.Platform {
				name += "()"
			}
			id, ok := at[e.Heading()]
			if _, taken := b.names[name]; ok && !taken {
				b.names[name] = m.file + "#" + id
			}
		}
	}
	return b
}

// fileName returns the name of a page's file, which is that of no other page, whether a
// file system tells capitals apart or not.
func fileName(name string, taken map[string]bool) string {
	name = strings.Map(func(c rune) rune {
		if unicode.IsLetter(c) || unicode.IsNumber(c) || strings.ContainsRune("-_.", c) {
			return c
		}
		return '-'
	}, name)
	file := name + ".html"
	for n := 2; taken[strings.ToLower(file)]; n++ {
		file = fmt.Sprintf("%s-%d.html", name, n)
	}
	taken[strings.ToLower(file)] = true
	return file
}

// slug names a section among pages.
func slug(s *reference.Section) string {
	name := strings.TrimSuffix(strings.NewReplacer("@", "", "//", "-", "/", "-", " ", "-").Replace(s.Name), ".star")
	if groupOf(s) == groupReference {
		return "ref-" + name
	}
	return "lib-" + strings.TrimPrefix(name, "-")
}

func groupOf(s *reference.Section) string {
	switch {
	case strings.HasPrefix(s.Name, "@bake//"):
		return groupLibrary
	case strings.HasSuffix(s.Name, ".star"):
		return groupFiles
	}
	return groupReference
}
