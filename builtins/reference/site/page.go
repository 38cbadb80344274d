package site

import (
	"fmt"
	"html"
	"strings"

	"bake.build/bake/internal/markdown"
)

// A builder writes the pages of one site.
type builder struct {
	site    *Site
	pages   []*made
	names   map[string]string // of the language, the library and commands → where they are described
	anchors map[string]string // headings of the reference → where they are
}

// page returns the HTML of a page.
func (b *builder) page(p *made) string {
	var out strings.Builder
	f := func(format string, args ...any) { fmt.Fprintf(&out, format, args...) }
	title := p.Title + " · " + b.site.Title
	if p.Name == "index" {
		title = p.Title
	}
	f("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
	f("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n")
	f("<title>%s</title>\n", html.EscapeString(title))
	if p.Summary != "" {
		f("<meta name=\"description\" content=\"%s\">\n", html.EscapeString(strings.ReplaceAll(p.Summary, "`", "")))
	}
	f("<link rel=\"stylesheet\" href=\"style.css\">\n<script src=\"search.js\" defer></script>\n</head>\n<body>\n")
	f("<a class=\"skip\" href=\"#content\">Skip to content</a>\n<header>\n<a class=\"home\" href=\"index.html\">%s</a>\n", html.EscapeString(b.site.Title))
	f("<div id=\"search\" role=\"search\" hidden><label for=\"query\">Search</label> <input id=\"query\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\" aria-controls=\"results\"></div>\n")
	f("<a class=\"menu\" href=\"#pages\">All pages</a>\n</header>\n<section id=\"results\" aria-label=\"Search results\" hidden></section>\n<div class=\"columns\">\n<main id=\"content\">\n")
	o := markdown.Options{
		Link:    func(dest string) string { return b.link(p, dest) },
		Name:    func(code string) string { return b.name(p, code) },
		Code:    b.code,
		Anchors: true,
	}
	out.WriteString(markdown.HTML(p.blocks, o))
	f("</main>\n")
	b.contents(&out, p)
	b.nav(&out, p)
	f("</div>\n</body>\n</html>\n")
	return out.String()
}

// contents lists the headings of a page.
func (b *builder) contents(out *strings.Builder, p *made) {
	var heads []markdown.Block
	for _, block := range p.blocks {
		if block.Kind == markdown.Heading && (block.Level == 2 || block.Level == 3) {
			heads = append(heads, block)
		}
	}
	if len(heads) < 2 {
		return
	}
	out.WriteString("<nav class=\"contents\" aria-label=\"On this page\">\n<p>On this page</p>\n<ul>\n")
	for _, h := range heads {
		fmt.Fprintf(out, "<li class=\"level%d\"><a href=\"#%s\">%s</a></li>\n", h.Level, html.EscapeString(h.ID), html.EscapeString(markdown.Plain(h.Inline)))
	}
	out.WriteString("</ul>\n</nav>\n")
}

// nav lists all pages, by their groups in the order of their first page.
func (b *builder) nav(out *strings.Builder, here *made) {
	out.WriteString("<nav id=\"pages\" class=\"pages\" aria-label=\"All pages\">\n")
	var groups []string
	byGroup := map[string][]*made{}
	for _, p := range b.pages {
		if p.Group == "" {
			continue
		}
		if byGroup[p.Group] == nil {
			groups = append(groups, p.Group)
		}
		byGroup[p.Group] = append(byGroup[p.Group], p)
	}
	for _, g := range groups {
		fmt.Fprintf(out, "<p>%s</p>\n<ul>\n", html.EscapeString(g))
		for _, p := range byGroup[g] {
			current := ""
			if p == here {
				current = ` aria-current="page"`
			}
			fmt.Fprintf(out, "<li><a href=\"%s\"%s>%s</a></li>\n", html.EscapeString(p.file), current, html.EscapeString(p.Title))
		}
		out.WriteString("</ul>\n")
	}
	out.WriteString("</nav>\n")
}

// link returns what a link of a page leads to in the site. What lies outside of the
// pages, such as a file of the repository, has no place there.
func (b *builder) link(from *made, dest string) string {
	if strings.Contains(dest, "://") || strings.HasPrefix(dest, "mailto:") {
		return dest
	}
	file, anchor, _ := strings.Cut(dest, "#")
	if file == "" || file == "reference.md" {
		for _, block := range from.blocks {
			if file == "" && block.Kind == markdown.Heading && block.ID == anchor {
				return dest
			}
		}
		if to, ok := b.anchors[anchor]; ok {
			return to
		}
		file = "reference.md"
	}
	name, isPage := strings.CutSuffix(file, ".md")
	for _, p := range b.pages {
		if isPage && p.Name == name {
			if anchor != "" {
				return p.file + "#" + anchor
			}
			return p.file
		}
	}
	return ""
}

// name returns where code of a page is described: a name, a call of one, or a command.
func (b *builder) name(from *made, code string) string {
	code = strings.TrimSpace(code)
	dest := b.names[code]
	if dest == "" {
		if name, _, ok := strings.Cut(code, "("); ok {
			if dest = b.names[name]; dest == "" {
				dest = b.names[name+"()"]
			}
		}
	}
	for words := strings.Fields(code); dest == "" && len(words) > 1 && words[0] == "bake"; words = words[:len(words)-1] {
		dest = b.names[strings.Join(words, " ")]
	}
	if rest, ok := strings.CutPrefix(dest, from.file+"#"); ok {
		return "#" + rest
	}
	return dest
}
