package markdown

import "strings"

// An InlineKind is a kind of text.
type InlineKind int

// The kinds of text.
const (
	Text InlineKind = iota
	Span            // code
	Emphasis
	Strong
	Link
	Image
	Break
	Cell // of a table
)

// An Inline is a part of a paragraph.
type Inline struct {
	Kind   InlineKind
	Text   string   // of Text, a Span, and an Image, which it describes
	Dest   string   // of a Link or Image
	Inline []Inline // of Emphasis, Strong, a Link or a Cell
}

// Plain returns what inlines say, without marks.
func Plain(list []Inline) string {
	var b strings.Builder
	for _, x := range list {
		if x.Kind == Break {
			b.WriteByte(' ')
		}
		b.WriteString(x.Text + Plain(x.Inline))
	}
	return b.String()
}

// Links calls visit for each link and image.
func Links(blocks []Block, visit func(b Block, x Inline)) {
	Walk(blocks, func(b Block) {
		eachLink(b, b.Inline, visit)
		for _, row := range b.Rows {
			eachLink(b, row, visit)
		}
	})
}

func eachLink(b Block, list []Inline, visit func(b Block, x Inline)) {
	for _, x := range list {
		if x.Kind == Link || x.Kind == Image {
			visit(b, x)
		}
		eachLink(b, x.Inline, visit)
	}
}
