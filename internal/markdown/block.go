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

// Parse reads a page.
func Parse(text string) []Block {
	text = strings.NewReplacer("\r\n", "\n", "\t", "    ", "\x00", "\ufffd").Replace(text)
	lines := strings.Split(text, "\n")
	blocks := parse(lines, 1)
	identify(blocks, map[string]int{})
	return blocks
}

// A parser goes through the lines of one container, whose own marks are taken off.
type parser struct {
	lines  []string
	first  int // number of the first line
	at     int // the next line
	blocks []Block
	para   []string // the paragraph that is open
	start  int      // index of its first line
}

func parse(lines []string, first int) []Block {
	p := &parser{lines: lines, first: first}
	for p.at < len(p.lines) {
		p.step()
	}
	p.close()
	return p.blocks
}

// add ends the open paragraph and appends a block that begins at line index at.
func (p *parser) add(b Block, at int) {
	p.close()
	b.Line = p.first + at
	p.blocks = append(p.blocks, b)
}

// close ends the open paragraph.
func (p *parser) close() {
	if len(p.para) == 0 {
		return
	}
	text := strings.Join(p.para, "\n")
	p.para = nil
	p.blocks = append(p.blocks, Block{Kind: Paragraph, Line: p.first + p.start, Inline: inlines(text)})
}

// step reads what the next line begins or continues.
func (p *parser) step() {
	line := p.lines[p.at]
	body := strings.TrimLeft(line, " ")
	indent := len(line) - len(body)
	switch {
	case body == "":
		p.close()
		p.at++
	case indent >= 4 && len(p.para) == 0:
		p.indented()
	case indent >= 4:
		p.text(body)
	case p.fence(line, indent), p.heading(body), p.rule(body), p.quote(body), p.list(line), p.table(body):
	case strings.HasPrefix(body, "<!--"):
		p.comment()
	default:
		p.text(body)
	}
}

func (p *parser) text(body string) {
	if len(p.para) == 0 {
		p.start = p.at
	}
	p.para = append(p.para, body)
	p.at++
}

// comment skips a comment of HTML.
func (p *parser) comment() {
	p.close()
	for p.at < len(p.lines) {
		p.at++
		if strings.Contains(p.lines[p.at-1], "-->") {
			return
		}
	}
}

func (p *parser) indented() {
	at := p.at
	var code []string
	for p.at < len(p.lines) {
		line := p.lines[p.at]
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "    ") {
			break
		}
		code = append(code, strings.TrimPrefix(line, "    "))
		p.at++
	}
	for len(code) > 0 && strings.TrimSpace(code[len(code)-1]) == "" {
		code = code[:len(code)-1]
	}
	p.add(Block{Kind: Code, Text: strings.Join(code, "\n") + "\n"}, at)
}

// fence reads ```lang … ```, which may be indented as far as its opening line.
func (p *parser) fence(line string, indent int) bool {
	body := line[indent:]
	mark := body[:len(body)-len(strings.TrimLeft(body, body[:1]))]
	info := strings.TrimSpace(body[len(mark):])
	if len(mark) < 3 || mark[0] != '`' && mark[0] != '~' || mark[0] == '`' && strings.Contains(info, "`") {
		return false
	}
	at := p.at
	var code strings.Builder
	for p.at++; p.at < len(p.lines); p.at++ {
		line := p.lines[p.at]
		if end := strings.TrimSpace(line); len(end) >= len(mark) && strings.Trim(end, mark[:1]) == "" && len(line)-len(strings.TrimLeft(line, " ")) < 4 {
			p.at++
			break
		}
		code.WriteString(line[min(indent, len(line)-len(strings.TrimLeft(line, " "))):] + "\n")
	}
	lang, _, _ := strings.Cut(info, " ")
	p.add(Block{Kind: Code, Lang: lang, Text: code.String()}, at)
	return true
}

func (p *parser) heading(body string) bool {
	level := len(body) - len(strings.TrimLeft(body, "#"))
	if level < 1 || level > 6 || level < len(body) && body[level] != ' ' {
		return false
	}
	text := strings.TrimSpace(body[level:])
	if cut := strings.TrimRight(text, "#"); cut == "" || strings.HasSuffix(cut, " ") {
		text = strings.TrimSpace(cut)
	}
	p.add(Block{Kind: Heading, Level: level, Inline: inlines(text)}, p.at)
	p.at++
	return true
}

// isRule reports whether a line is a rule: three marks or more, and no other.
func isRule(body string) bool {
	marks := strings.ReplaceAll(body, " ", "")
	return len(marks) >= 3 && strings.Contains("-*_", marks[:1]) && strings.Trim(marks, marks[:1]) == ""
}

func (p *parser) rule(body string) bool {
	if !isRule(body) {
		return false
	}
	p.add(Block{Kind: Rule}, p.at)
	p.at++
	return true
}

func (p *parser) quote(body string) bool {
	if !strings.HasPrefix(body, ">") {
		return false
	}
	at := p.at
	var inner []string
	for p.at < len(p.lines) {
		body := strings.TrimLeft(p.lines[p.at], " ")
		rest, quoted := strings.CutPrefix(body, ">")
		if !quoted && (body == "" || len(inner) > 0 && strings.TrimSpace(inner[len(inner)-1]) == "" || p.interrupts(p.lines[p.at])) {
			break
		}
		if quoted {
			body = strings.TrimPrefix(rest, " ")
		}
		inner = append(inner, body)
		p.at++
	}
	p.add(Block{Kind: Quote, Blocks: parse(inner, p.first+at)}, at)
	return true
}

// interrupts reports whether a line ends a paragraph that it stands below.
func (p *parser) interrupts(line string) bool {
	body := strings.TrimLeft(line, " ")
	if body == "" {
		return true
	}
	m, ok := marker(line)
	return strings.HasPrefix(body, "```") || strings.HasPrefix(body, "~~~") || strings.HasPrefix(body, ">") || isRule(body) ||
		strings.HasPrefix(body, "#") && strings.HasPrefix(strings.TrimLeft(body, "#"), " ") ||
		ok && !m.empty && (!m.ordered || m.number == 1)
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
