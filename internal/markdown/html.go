package markdown

import (
	"fmt"
	"html"
	"strconv"
	"strings"
)

// Options say how a page is written as HTML.
type Options struct {
	// Link returns what a link or an image leads to; "" leaves the text without a
	// link. When it is nil, every destination is taken as it is.
	Link func(dest string) string

	// Name returns what code in the text leads to, or "". It may be nil.
	Name func(code string) string

	// Code returns the HTML of a block of code, or "" where it is to be shown as
	// text. It may be nil.
	Code func(lang, text string) string

	// Anchors puts a link to itself behind each heading.
	Anchors bool
}

// HTML returns a page as HTML. What it is made from is escaped, and no link leads to a
// scheme but http, https and mailto.
func HTML(blocks []Block, o Options) string {
	w := &writer{Options: o}
	w.blocks(blocks, false)
	return w.b.String()
}

type writer struct {
	Options
	b      strings.Builder
	inLink bool
}

func (w *writer) f(format string, args ...any) { fmt.Fprintf(&w.b, format, args...) }

func (w *writer) blocks(list []Block, tight bool) {
	for i, b := range list {
		w.block(b, tight)
		if tight && b.Kind == Paragraph && i+1 < len(list) {
			w.b.WriteByte('\n')
		}
	}
}

func (w *writer) block(b Block, tight bool) {
	switch b.Kind {
	case Paragraph:
		if tight {
			w.inline(b.Inline)
			return
		}
		w.b.WriteString("<p>")
		w.inline(b.Inline)
		w.b.WriteString("</p>\n")
	case Heading:
		id := html.EscapeString(b.ID)
		w.f("<h%d id=\"%s\">", b.Level, id)
		w.inline(b.Inline)
		if w.Anchors {
			w.f(" <a class=\"anchor\" href=\"#%s\" aria-label=\"Link to %s\">#</a>", id, html.EscapeString(Plain(b.Inline)))
		}
		w.f("</h%d>\n", b.Level)
	case Code:
		w.code(b)
	case Quote:
		w.b.WriteString("<blockquote>\n")
		w.blocks(b.Blocks, false)
		w.b.WriteString("</blockquote>\n")
	case List:
		w.list(b)
	case Table:
		w.table(b)
	case Rule:
		w.b.WriteString("<hr>\n")
	}
}

func (w *writer) code(b Block) {
	class := ""
	if b.Lang != "" {
		class = ` class="language-` + html.EscapeString(b.Lang) + `"`
	}
	text := ""
	if w.Code != nil {
		text = w.Code(b.Lang, b.Text)
	}
	if text == "" {
		text = html.EscapeString(b.Text)
	}
	w.f("<pre tabindex=\"0\"><code%s>%s</code></pre>\n", class, text)
}

func (w *writer) list(b Block) {
	tag, start := "ul", ""
	if b.Ordered {
		tag = "ol"
		if b.Start != 1 {
			start = ` start="` + strconv.Itoa(b.Start) + `"`
		}
	}
	w.f("<%s%s>\n", tag, start)
	for _, item := range b.Blocks {
		w.b.WriteString("<li>")
		w.blocks(item.Blocks, b.Tight)
		w.b.WriteString("</li>\n")
	}
	w.f("</%s>\n", tag)
}

// table writes a table that can be scrolled where it is wider than the page. A head
// without texts is left out: the first column is then the head of each row.
func (w *writer) table(b Block) {
	w.b.WriteString("<div class=\"table\" tabindex=\"0\"><table>\n")
	headless := true
	for _, cell := range b.Rows[0] {
		headless = headless && len(cell.Inline) == 0
	}
	if !headless {
		w.b.WriteString("<thead>\n")
		w.row(b.Rows[0], colHead, colHead)
		w.b.WriteString("</thead>\n")
	}
	if len(b.Rows) > 1 {
		w.b.WriteString("<tbody>\n")
		for _, row := range b.Rows[1:] {
			first := "td"
			if headless {
				first = rowHead
			}
			w.row(row, first, "td")
		}
		w.b.WriteString("</tbody>\n")
	}
	w.b.WriteString("</table></div>\n")
}

// The elements of cells that head a column or a row.
const (
	colHead = `th scope="col"`
	rowHead = `th scope="row"`
)

func (w *writer) row(cells []Inline, first, rest string) {
	w.b.WriteString("<tr>\n")
	for i, cell := range cells {
		tag := rest
		if i == 0 {
			tag = first
		}
		if len(cell.Inline) == 0 {
			tag = "td" // it heads nothing
		}
		w.f("<%s>", tag)
		w.inline(cell.Inline)
		name, _, _ := strings.Cut(tag, " ")
		w.f("</%s>\n", name)
	}
	w.b.WriteString("</tr>\n")
}

func (w *writer) inline(list []Inline) {
	for _, x := range list {
		switch x.Kind {
		case Text:
			w.b.WriteString(html.EscapeString(x.Text))
		case Span:
			w.span(x)
		case Emphasis:
			w.wrap("em", x.Inline)
		case Strong:
			w.wrap("strong", x.Inline)
		case Break:
			w.b.WriteString("<br>\n")
		case Link:
			w.link(x)
		case Image:
			if dest := w.dest(x.Dest); dest != "" {
				w.f(`<img src="%s" alt="%s">`, html.EscapeString(dest), html.EscapeString(x.Text))
			} else {
				w.b.WriteString(html.EscapeString(x.Text))
			}
		}
	}
}

func (w *writer) wrap(tag string, list []Inline) {
	w.f("<%s>", tag)
	w.inline(list)
	w.f("</%s>", tag)
}

func (w *writer) span(x Inline) {
	text := "<code>" + html.EscapeString(x.Text) + "</code>"
	if w.Name != nil && !w.inLink {
		if dest := w.Name(x.Text); dest != "" {
			text = `<a href="` + html.EscapeString(dest) + `">` + text + "</a>"
		}
	}
	w.b.WriteString(text)
}

func (w *writer) link(x Inline) {
	dest := w.dest(x.Dest)
	if dest == "" || w.inLink {
		w.inline(x.Inline)
		return
	}
	w.f(`<a href="%s">`, html.EscapeString(dest))
	w.inLink = true
	w.inline(x.Inline)
	w.inLink = false
	w.b.WriteString("</a>")
}

func (w *writer) dest(dest string) string {
	if w.Link != nil {
		dest = w.Link(dest)
	}
	scheme, _, ok := strings.Cut(dest, ":")
	if ok && !strings.ContainsAny(scheme, "/?#") {
		switch strings.ToLower(scheme) {
		case "http", "https", "mailto":
		default:
			return ""
		}
	}
	return dest
}
