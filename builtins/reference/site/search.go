package site

import (
	"encoding/json"
	"strings"

	"bake.build/bake/internal/markdown"
)

// A hit is what the search can find: a page, or what stands below one of its headings.
type hit struct {
	Title string `json:"t"`
	In    string `json:"p,omitempty"` // the page's title
	URL   string `json:"u"`
	Text  string `json:"x,omitempty"`
}

// mostText is how much of the text below a heading is searched, in bytes.
const mostText = 1200

// searchIndex returns the script that holds the index.
func (b *builder) searchIndex() string {
	var hits []hit
	for _, p := range b.pages {
		last := hit{Title: p.Title, URL: p.file, Text: p.Summary}
		end := func() {
			if len(last.Text) > mostText {
				last.Text = strings.ToValidUTF8(last.Text[:mostText], "")
			}
			hits = append(hits, last)
		}
		for _, block := range p.blocks {
			if block.Kind == markdown.Heading && block.Level > 1 {
				end()
				last = hit{Title: markdown.Plain(block.Inline), In: p.Title, URL: p.file + "#" + block.ID}
				continue
			}
			markdown.Walk([]markdown.Block{block}, func(inner markdown.Block) {
				if inner.Kind != markdown.Heading {
					last.Text += " " + words(inner)
				}
			})
		}
		end()
	}
	text, err := json.Marshal(hits)
	if err != nil {
		return "" // strings can always be marshalled
	}
	return "bakeSearch(" + string(text) + ");\n"
}

// words returns what a block says, without what is in it.
func words(b markdown.Block) string {
	text := markdown.Plain(b.Inline)
	for _, row := range b.Rows {
		for _, cell := range row {
			text += " " + markdown.Plain(cell.Inline)
		}
	}
	return strings.Join(strings.Fields(text+" "+b.Text), " ")
}
