package format

import (
	"bytes"

	"bake.build/bake/starlark/scan"
)

// prepare returns text in a form of the same meaning that the printer's own parser
// understands: it knows indentation by spaces only, and it writes strings in single
// quotes anew with every byte that is not ASCII as a number.
func prepare(text []byte) []byte {
	var out []byte
	last := 0
	for _, p := range scan.Pieces(text) {
		out = untab(out, text[last:p.Start])
		if p.Comment || bytes.HasSuffix(text[:p.Start], []byte("r")) || bytes.HasSuffix(text[:p.Start], []byte("b")) {
			out = append(out, text[p.Start:p.End]...)
		} else {
			out = append(out, requote(text[p.Start:p.End])...)
		}
		last = p.End
	}
	return untab(out, text[last:])
}

// tabStop is how many columns a tab advances to, as the language has it.
const tabStop = 8

// untab appends code to out with tabs at the beginning of lines as spaces.
func untab(out, code []byte) []byte {
	blank := len(out) == 0
	col := 0
	for _, c := range code {
		switch {
		case c == '\n':
			blank, col = true, 0
		case blank && c == '\t':
			for col++; col%tabStop != 0; col++ {
				out = append(out, ' ')
			}
			c = ' '
		case blank && c == ' ':
			col++
		default:
			blank = false
		}
		out = append(out, c)
	}
	return out
}

// requote returns a literal in single quotes with double ones, unless it holds some.
func requote(literal []byte) []byte {
	if literal[0] != '\'' || bytes.IndexByte(literal, '"') >= 0 {
		return literal
	}
	n := 1
	if bytes.HasPrefix(literal, []byte("'''")) && len(literal) >= 6 {
		n = 3
	}
	if len(literal) < 2*n {
		return literal
	}
	quote := bytes.Repeat([]byte{'"'}, n)
	out := append([]byte{}, quote...)
	for body := literal[n : len(literal)-n]; len(body) > 0; {
		switch {
		case bytes.HasPrefix(body, []byte(`\'`)):
			out, body = append(out, '\''), body[2:]
		case body[0] == '\\' && len(body) > 1:
			out, body = append(out, body[:2]...), body[2:]
		default:
			out, body = append(out, body[0]), body[1:]
		}
	}
	return append(out, quote...)
}
