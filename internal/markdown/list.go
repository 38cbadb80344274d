package markdown

import (
	"strconv"
	"strings"
)

// A mark begins an item of a list.
type mark struct {
	ordered bool
	number  int
	kind    byte // the character that tells lists apart: "-", "*", "+", "." or ")"
	indent  int  // of the item's content
	empty   bool // nothing stands behind it
}

// marker returns the mark that a line begins with.
func marker(line string) (m mark, ok bool) {
	body := strings.TrimLeft(line, " ")
	before := len(line) - len(body)
	width := 0
	switch digits := len(body) - len(strings.TrimLeft(body, "0123456789")); {
	case before > 3 || body == "":
		return mark{}, false
	case strings.Contains("-*+", body[:1]):
		m.kind, width = body[0], 1
	case digits > 0 && digits < 10 && len(body) > digits && (body[digits] == '.' || body[digits] == ')'):
		m.ordered, m.kind, width = true, body[digits], digits+1
		m.number, _ = strconv.Atoi(body[:digits])
	default:
		return mark{}, false
	}
	rest := body[width:]
	text := strings.TrimLeft(rest, " ")
	spaces := len(rest) - len(text)
	switch {
	case text == "":
		spaces, m.empty = 1, true
	case spaces == 0:
		return mark{}, false
	case spaces > 4: // code stands in the item
		spaces = 1
	}
	m.indent = before + width + spaces
	return m, true
}

func (p *parser) list(line string) bool {
	m, ok := marker(line)
	if !ok || len(p.para) > 0 && (m.empty || m.ordered && m.number != 1) {
		return false
	}
	at := p.at
	p.close()
	list := Block{Kind: List, Ordered: m.ordered, Start: m.number, Tight: true}
	for p.at < len(p.lines) {
		next, ok := marker(p.lines[p.at])
		if !ok || next.kind != m.kind || isRule(strings.TrimLeft(p.lines[p.at], " ")) {
			break
		}
		item, loose := p.item(next)
		list.Blocks = append(list.Blocks, item)
		blank := p.at > 0 && strings.TrimSpace(p.lines[p.at-1]) == ""
		if loose || blank && p.at < len(p.lines) && sameList(p.lines[p.at], m) {
			list.Tight = false
		}
	}
	p.add(list, at)
	return true
}

func sameList(line string, m mark) bool {
	next, ok := marker(line)
	return ok && next.kind == m.kind
}

// item reads an item: its first line, and the lines that are indented as far as its
// content. loose reports whether a blank line parts its blocks.
func (p *parser) item(m mark) (b Block, loose bool) {
	at := p.at
	first := p.lines[p.at]
	inner := []string{first[min(m.indent, len(first)):]}
	fenced := fenceOf(inner[0])
	for p.at++; p.at < len(p.lines); p.at++ {
		line := p.lines[p.at]
		indent := len(line) - len(strings.TrimLeft(line, " "))
		last := inner[len(inner)-1]
		switch {
		case strings.TrimSpace(line) == "":
			if len(inner) == 1 && m.empty { // an item may begin with one blank line at most
				p.at++
				return p.itemOf(inner, at)
			}
			inner = append(inner, "")
			continue
		case indent >= m.indent:
			line = line[m.indent:]
		case strings.TrimSpace(last) == "" || fenced != "" || p.interrupts(line) || isItem(line):
			return p.itemOf(inner, at)
		}
		if f := fenceOf(line); f != "" && (fenced == "" || strings.HasPrefix(f, fenced)) {
			if fenced == "" {
				fenced = f
			} else {
				fenced = ""
			}
		}
		inner = append(inner, line)
	}
	return p.itemOf(inner, at)
}

func isItem(line string) bool { _, ok := marker(line); return ok }

// fenceOf returns the marks of a fence that a line begins with, or "".
func fenceOf(line string) string {
	body := strings.TrimLeft(line, " ")
	for _, c := range []string{"`", "~"} {
		if n := len(body) - len(strings.TrimLeft(body, c)); n >= 3 {
			return body[:n]
		}
	}
	return ""
}

func (p *parser) itemOf(inner []string, at int) (b Block, loose bool) {
	b = Block{Kind: Item, Line: p.first + at, Blocks: parse(inner, p.first+at)}
	for len(inner) > 0 && strings.TrimSpace(inner[len(inner)-1]) == "" {
		inner = inner[:len(inner)-1]
	}
	for _, child := range b.Blocks[min(1, len(b.Blocks)):] {
		if before := child.Line - b.Line - 1; before >= 0 && before < len(inner) && strings.TrimSpace(inner[before]) == "" {
			loose = true
		}
	}
	return b, loose
}
