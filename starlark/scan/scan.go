// Package scan finds the comments and the strings of Starlark files, in the order of
// the text. The parser keeps comments by the nodes of its tree; here none is missing.
package scan

import (
	"bytes"
	"strings"
)

// A Comment is one comment of a file.
type Comment struct {
	Line, Col int    // from 1; Col in bytes
	Offset    int    // of the "#" in the text
	Text      string // from the "#" to the end of the line, without blanks at the end
	Alone     bool   // nothing but blanks stands before it on its line
}

// Comments returns the comments of text, which parses as Starlark.
func Comments(text []byte) []Comment {
	var found []Comment
	line, counted := 1, 0 // the line at the offset counted
	for _, p := range Pieces(text) {
		if !p.Comment {
			continue
		}
		line += bytes.Count(text[counted:p.Start], []byte("\n"))
		counted = p.Start
		start := bytes.LastIndexByte(text[:p.Start], '\n') + 1
		found = append(found, Comment{
			Line: line, Col: p.Start - start + 1, Offset: p.Start,
			Text:  strings.TrimRight(string(text[p.Start:p.End]), " \t\r"),
			Alone: len(bytes.TrimLeft(text[start:p.Start], " \t")) == 0,
		})
	}
	return found
}

// A Piece is a part of a text that the rules of its language hold for: a comment or a
// string, from the first byte to behind the last.
type Piece struct {
	Start, End int
	Comment    bool // otherwise a string, from its quote
}

// Pieces returns the comments and the strings of text, which parses as Starlark.
func Pieces(text []byte) []Piece {
	var found []Piece
	for i := 0; i < len(text); i++ {
		p := Piece{Start: i, Comment: text[i] == '#'}
		switch text[i] {
		case '#':
			p.End = len(text)
			if n := bytes.IndexByte(text[i:], '\n'); n >= 0 {
				p.End = i + n
			}
		case '"', '\'':
			p.End = literalEnd(text, i)
		default:
			continue
		}
		found = append(found, p)
		i = p.End - 1
	}
	return found
}

// literalEnd returns where the string ends that begins with the quote at i. A
// backslash takes the next character's meaning away in raw strings, too.
func literalEnd(text []byte, i int) int {
	quote := text[i : i+1]
	if triple := bytes.Repeat(quote, 3); bytes.HasPrefix(text[i:], triple) {
		quote = triple
	}
	for i += len(quote); i < len(text); i++ {
		switch {
		case text[i] == '\\':
			i++
		case bytes.HasPrefix(text[i:], quote):
			return i + len(quote)
		}
	}
	return len(text)
}
