package markdown

import (
	"fmt"
	"strings"

	"github.com/mattn/go-runewidth"
)

// A Style says how a page is shown on a terminal.
type Style struct {
	Width int  // in columns; 0 means 80
	Color bool // whether headings and code are marked by escape sequences
}

const (
	bold = "1"
	cyan = "36"
	dim  = "2"
)

// Show returns a page as text for a terminal. Headings stand at the left, and
// what they head is indented.
func Show(blocks []Block, s Style) string {
	if s.Width == 0 {
		s.Width = 80
	}
	t := &terminal{Style: s}
	for _, b := range blocks {
		margin := "    "
		if b.Kind == Heading {
			margin = strings.Repeat("  ", min(max(b.Level-2, 0), 1))
		}
		t.block(b, margin)
	}
	return strings.TrimPrefix(t.b.String(), "\n")
}

type terminal struct {
	Style
	b strings.Builder
}

func (t *terminal) paint(color, text string) string {
	if !t.Color || color == "" || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

func (t *terminal) block(b Block, margin string) {
	switch b.Kind {
	case Paragraph:
		t.b.WriteString("\n")
		t.wrap(t.words(b.Inline), margin, margin)
	case Heading:
		t.b.WriteString("\n" + margin + t.paint(bold, Plain(b.Inline)) + "\n")
	case Code:
		t.b.WriteString("\n")
		for line := range strings.Lines(b.Text) {
			t.b.WriteString(strings.TrimRight(margin+"    "+line, " \n") + "\n")
		}
	case Quote:
		for _, c := range b.Blocks {
			t.block(c, margin+"  ")
		}
	case List:
		t.list(b, margin)
	case Table:
		t.table(b, margin)
	case Rule:
		t.b.WriteString("\n" + margin + strings.Repeat("─", 3) + "\n")
	}
}

func (t *terminal) list(b Block, margin string) {
	t.b.WriteString("\n")
	for i, item := range b.Blocks {
		mark := "- "
		if b.Ordered {
			mark = fmt.Sprintf("%d. ", b.Start+i)
		}
		inner := margin + strings.Repeat(" ", len(mark))
		for j, c := range item.Blocks {
			if j == 0 && c.Kind == Paragraph {
				t.wrap(t.words(c.Inline), margin+mark, inner)
				continue
			}
			t.block(c, inner)
		}
		if len(item.Blocks) == 0 {
			t.b.WriteString(margin + mark + "\n")
		}
	}
}

// table shows narrow tables in columns, and wide ones as a list: the first cell, and
// below it the others with what heads them.
func (t *terminal) table(b Block, margin string) {
	t.b.WriteString("\n")
	widths := make([]int, len(b.Rows[0]))
	total := runewidth.StringWidth(margin)
	for i := range widths {
		for _, row := range b.Rows {
			widths[i] = max(widths[i], runewidth.StringWidth(Plain(row[i].Inline)))
		}
		total += widths[i] + 2
	}
	if total-2 > t.Width {
		t.entries(b, margin)
		return
	}
	for r, row := range b.Rows {
		line := margin
		for i, cell := range row {
			text := Plain(cell.Inline)
			pad := strings.Repeat(" ", widths[i]-runewidth.StringWidth(text)+2)
			if r == 0 {
				text = t.paint(dim, text)
			} else if i == 0 {
				text = t.paint(cyan, text)
			}
			line += text + pad
		}
		if line = strings.TrimRight(line, " "); line != "" {
			t.b.WriteString(line + "\n")
		}
	}
}

func (t *terminal) entries(b Block, margin string) {
	head := b.Rows[0]
	body := bodyColumn(b.Rows)
	for _, row := range b.Rows[1:] {
		title := margin + t.paint(cyan, Plain(row[0].Inline))
		var text []string // the cell that needs no name
		var below []string
		for i := 1; i < len(row); i++ {
			cell := Plain(row[i].Inline)
			switch name := Plain(head[i].Inline); {
			case cell == "":
			case i == body:
				text = t.words(row[i].Inline)
			case name == "":
				title += "  " + cell
			case cell == "required" || name == "type":
				title += t.paint(dim, "  "+cell)
			case visible(title)+len("  : ")+runewidth.StringWidth(name+cell) > t.Width:
				below = append(below, name+": "+cell)
			default:
				title += t.paint(dim, "  "+name+": "+cell)
			}
		}
		t.b.WriteString(title + "\n")
		if len(text) > 0 {
			t.wrap(text, margin+"    ", margin+"    ")
		}
		for _, cell := range below {
			t.wrap(strings.Fields(cell), margin+"    ", margin+"    ")
		}
	}
}

// bodyColumn returns the column that says what a row means, or else the one but the
// first with the most text.
func bodyColumn(rows [][]Inline) int {
	longest, most := 0, -1
	for i := 1; i < len(rows[0]); i++ {
		if Plain(rows[0][i].Inline) == "meaning" {
			return i
		}
		sum := 0
		for _, row := range rows[1:] {
			sum += len(Plain(row[i].Inline))
		}
		if sum > most {
			longest, most = i, sum
		}
	}
	return longest
}

// words returns what inlines say as words to wrap, "\n" for a break. Code is not wrapped inside.
func (t *terminal) words(list []Inline) []string {
	var words []string
	glued := false // whether the next word belongs to the last one
	put := func(text, color string) {
		if glued && len(words) > 0 && words[len(words)-1] != "\n" {
			words[len(words)-1] += t.paint(color, text)
		} else {
			words = append(words, t.paint(color, text))
		}
		glued = true
	}
	var walk func(list []Inline, color string)
	walk = func(list []Inline, color string) {
		for _, x := range list {
			switch x.Kind {
			case Break:
				words, glued = append(words, "\n"), false
			case Span:
				put(x.Text, cyan)
			case Link:
				walk(x.Inline, color)
				if strings.Contains(x.Dest, "://") && Plain(x.Inline) != x.Dest {
					glued = false
					put("("+x.Dest+")", "")
				}
			case Emphasis, Strong:
				walk(x.Inline, bold)
			default:
				for part := range strings.SplitAfterSeq(strings.ReplaceAll(x.Text, "\n", " "), " ") {
					if word := strings.TrimSuffix(part, " "); word != "" {
						put(word, color)
					}
					glued = glued && !strings.HasSuffix(part, " ")
				}
			}
		}
	}
	walk(list, "")
	return words
}

// wrap writes words in lines, the first one behind first and the others behind margin.
func (t *terminal) wrap(words []string, first, margin string) {
	line, width := first, runewidth.StringWidth(first)
	begun := false
	for _, word := range words {
		n := visible(word)
		if word == "\n" || begun && width+1+n > t.Width {
			t.b.WriteString(line + "\n")
			line, width, begun = margin, runewidth.StringWidth(margin), false
			if word == "\n" {
				continue
			}
		}
		if begun {
			line, width = line+" ", width+1
		}
		line, width, begun = line+word, width+n, true
	}
	t.b.WriteString(strings.TrimRight(line, " ") + "\n")
}

// visible returns how wide a word is without escape sequences.
func visible(word string) int {
	var plain strings.Builder
	for word != "" {
		before, after, ok := strings.Cut(word, "\x1b[")
		plain.WriteString(before)
		if !ok {
			break
		}
		_, word, _ = strings.Cut(after, "m")
	}
	return runewidth.StringWidth(plain.String())
}
