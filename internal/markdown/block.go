package markdown

import (
	"strconv"
	"strings"
	"unicode"
)

// A Kind is a kind of block.
type Kind int

// The kinds of blocks.
const (
	Paragraph Kind = iota
	Heading
	Code
	Quote
	List
	Item
	Table
	Rule
)

// A Block is a part of a page. Which fields it has depends on its kind.
type Block struct {
	Kind    Kind
	Line    int        // in the page, from 1
	Level   int        // of a Heading, 1 to 6
	ID      string     // of a Heading: its anchor, unique in the page
	Ordered bool       // of a List
	Start   int        // of a List that is ordered: the first number
	Tight   bool       // of a List: its items have no space between them
	Lang    string     // of Code: the word behind the fence
	Text    string     // of Code
	Inline  []Inline   // of a Paragraph or Heading
	Blocks  []Block    // of a List, Item or Quote
	Rows    [][]Inline // of a Table: Inline of kind Cell; the first row is the head
}

// identify gives headings their anchors, as GitHub does.
func identify(blocks []Block, seen map[string]int) {
	for i := range blocks {
		b := &blocks[i]
		identify(b.Blocks, seen)
		if b.Kind != Heading {
			continue
		}
		b.ID = Anchor(Plain(b.Inline))
		seen[b.ID]++
		if n := seen[b.ID]; n > 1 {
			b.ID += "-" + strconv.Itoa(n-1)
			seen[b.ID]++
		}
	}
}

// Anchor returns the anchor of the first heading with this text in a page.
func Anchor(text string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(text) {
		switch {
		case unicode.IsLetter(c), unicode.IsNumber(c), c == '-', c == '_':
			b.WriteRune(c)
		case c == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}

// Walk calls visit for each of the blocks and all that are in them.
func Walk(blocks []Block, visit func(Block)) {
	for _, b := range blocks {
		visit(b)
		Walk(b.Blocks, visit)
	}
}

// Part returns the text from the heading with the anchor to the next heading of its
// level or above, or "" where there is none.
func Part(text, anchor string) string {
	first, last, level := 0, 0, 0
	lines := strings.SplitAfter(text, "\n")
	for _, b := range Parse(text) {
		switch {
		case b.Kind != Heading:
		case level == 0 && b.ID == anchor:
			first, level = b.Line, b.Level
		case level > 0 && last == 0 && b.Level <= level:
			last = b.Line
		}
	}
	switch {
	case level == 0:
		return ""
	case last == 0:
		last = len(lines) + 1
	}
	return strings.Join(lines[first-1:last-1], "")
}
