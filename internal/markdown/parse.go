package markdown

import (
	"strings"

	"rsc.io/markdown"
)

// Parse reads a page.
func Parse(text string) []Block {
	parser := markdown.Parser{Table: true}
	all := blocks(parser.Parse(text).Blocks)
	identify(all, map[string]int{})
	return all
}

func blocks(list []markdown.Block) (all []Block) {
	for _, b := range list {
		if made, ok := block(b); ok {
			made.Line = b.Pos().StartLine
			all = append(all, made)
		}
	}
	return all
}

// block returns what is shown of a block; ok is false for one that is not seen.
func block(b markdown.Block) (made Block, ok bool) {
	switch b := b.(type) {
	case *markdown.Paragraph:
		return Block{Kind: Paragraph, Inline: inlines(b.Text)}, true
	case *markdown.Text: // a paragraph of a list without space between its items
		return Block{Kind: Paragraph, Inline: inlines(b)}, true
	case *markdown.Heading:
		return Block{Kind: Heading, Level: b.Level, Inline: inlines(b.Text)}, true
	case *markdown.CodeBlock:
		lang, _, _ := strings.Cut(strings.TrimSpace(b.Info), " ")
		text := ""
		for _, line := range b.Text {
			text += line + "\n"
		}
		return Block{Kind: Code, Lang: lang, Text: text}, true
	case *markdown.Quote:
		return Block{Kind: Quote, Blocks: blocks(b.Blocks)}, true
	case *markdown.List:
		return Block{Kind: List, Ordered: b.Bullet == '.' || b.Bullet == ')', Start: b.Start, Tight: !b.Loose, Blocks: blocks(b.Items)}, true
	case *markdown.Item:
		return Block{Kind: Item, Blocks: blocks(b.Blocks)}, true
	case *markdown.Table:
		table := Block{Kind: Table, Rows: [][]Inline{row(b.Header)}}
		for _, r := range b.Rows {
			table.Rows = append(table.Rows, row(r))
		}
		return table, true
	case *markdown.ThematicBreak:
		return Block{Kind: Rule}, true
	case *markdown.HTMLBlock:
		text := strings.TrimSpace(strings.Join(b.Text, "\n"))
		comment := strings.HasPrefix(text, "<!--") && strings.HasSuffix(text, "-->")
		return Block{Kind: Paragraph, Inline: []Inline{{Kind: Text, Text: text}}}, !comment
	}
	return Block{}, false
}

func row(cells []*markdown.Text) (row []Inline) {
	for _, c := range cells {
		row = append(row, Inline{Kind: Cell, Inline: inlines(c)})
	}
	return row
}

func inlines(t *markdown.Text) []Inline {
	if t == nil {
		return nil
	}
	return parts(t.Inline)
}

// parts returns what is shown of a text, with neighbouring pieces of plain text as one.
func parts(list []markdown.Inline) (all []Inline) {
	for _, x := range list {
		made := part(x)
		if last := len(all) - 1; made.Kind == Text && last >= 0 && all[last].Kind == Text {
			all[last].Text += made.Text
			continue
		}
		all = append(all, made)
	}
	return all
}

func part(x markdown.Inline) Inline {
	switch x := x.(type) {
	case *markdown.Code:
		return Inline{Kind: Span, Text: x.Text}
	case *markdown.Emph:
		return Inline{Kind: Emphasis, Inline: parts(x.Inner)}
	case *markdown.Strong:
		return Inline{Kind: Strong, Inline: parts(x.Inner)}
	case *markdown.Link:
		return Inline{Kind: Link, Dest: x.URL, Inline: parts(x.Inner)}
	case *markdown.AutoLink:
		return Inline{Kind: Link, Dest: x.URL, Inline: []Inline{{Kind: Text, Text: x.Text}}}
	case *markdown.Image:
		return Inline{Kind: Image, Dest: x.URL, Text: Plain(parts(x.Inner))}
	case *markdown.HardBreak:
		return Inline{Kind: Break}
	case *markdown.SoftBreak:
		return Inline{Kind: Text, Text: "\n"}
	case *markdown.Plain:
		return Inline{Kind: Text, Text: x.Text}
	case *markdown.Escaped:
		return Inline{Kind: Text, Text: x.Text}
	case *markdown.HTMLTag:
		return Inline{Kind: Text, Text: x.Text}
	}
	return Inline{Kind: Text}
}
