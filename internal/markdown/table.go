package markdown

import "strings"

// table reads a table: a line of cells, one of dashes, and rows. A paragraph does not
// become the head of one with more than its last line.
func (p *parser) table(body string) bool {
	if len(p.para) > 0 || p.at+1 >= len(p.lines) || !strings.Contains(body, "|") {
		return false
	}
	head := cells(body)
	rule := cells(p.lines[p.at+1])
	if len(head) != len(rule) {
		return false
	}
	for _, cell := range rule {
		dashes := strings.TrimSuffix(strings.TrimPrefix(cell, ":"), ":")
		if dashes == "" || strings.Trim(dashes, "-") != "" {
			return false
		}
	}
	at := p.at
	table := Block{Kind: Table, Rows: [][]Inline{row(head, len(head))}}
	for p.at += 2; p.at < len(p.lines); p.at++ {
		line := p.lines[p.at]
		if strings.TrimSpace(line) == "" || !strings.Contains(line, "|") && p.interrupts(line) {
			break
		}
		table.Rows = append(table.Rows, row(cells(line), len(head)))
	}
	p.add(table, at)
	return true
}

// cells splits a line at its bars, but for those behind a backslash, and takes the
// backslashes off.
func cells(line string) []string {
	line = strings.TrimSpace(line)
	line = strings.TrimPrefix(line, "|")
	if strings.HasSuffix(line, "|") && !strings.HasSuffix(line, `\|`) {
		line = strings.TrimSuffix(line, "|")
	}
	var out []string
	var cell strings.Builder
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '\\' && i+1 < len(line) && line[i+1] == '|':
			cell.WriteByte('|')
			i++
		case line[i] == '|':
			out = append(out, strings.TrimSpace(cell.String()))
			cell.Reset()
		default:
			cell.WriteByte(line[i])
		}
	}
	return append(out, strings.TrimSpace(cell.String()))
}

func row(texts []string, width int) []Inline {
	row := make([]Inline, width)
	for i := range row {
		row[i].Kind = Cell
		if i < len(texts) {
			row[i].Inline = inlines(texts[i])
		}
	}
	return row
}
