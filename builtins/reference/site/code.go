package site

import (
	"html"
	"strings"
)

// keywords are those of Starlark.
var keywords = map[string]bool{
	"and": true, "break": true, "continue": true, "def": true, "elif": true, "else": true, "for": true, "if": true, "in": true,
	"lambda": true, "load": true, "not": true, "or": true, "pass": true, "return": true, "while": true,
	"True": true, "False": true, "None": true,
}

// code returns a block of Starlark with marks for its parts and links for the names in
// it, or "" for another language.
func (b *builder) code(lang, text string) string {
	if lang != "python" && lang != "starlark" {
		return ""
	}
	var out strings.Builder
	for text != "" {
		n := token(text)
		t := text[:n]
		rest := text[n:]
		text = rest
		switch c := t[0]; {
		case c == '#':
			out.WriteString(`<span class="c">` + html.EscapeString(t) + `</span>`)
		case c == '"' || c == '\'':
			s := html.EscapeString(t)
			if dest := b.names[strings.Trim(t, `"'`)]; dest != "" && strings.HasPrefix(strings.Trim(t, `"'`), "@") {
				s = `<a href="` + html.EscapeString(dest) + `">` + s + `</a>`
			}
			out.WriteString(`<span class="s">` + s + `</span>`)
		case keywords[t]:
			out.WriteString(`<span class="k">` + t + `</span>`)
		case letter(c) && strings.HasPrefix(rest, "(") && b.called(t) != "":
			out.WriteString(`<a href="` + html.EscapeString(b.called(t)) + `">` + html.EscapeString(t) + `</a>`)
		default:
			out.WriteString(html.EscapeString(t))
		}
	}
	return out.String()
}

// called returns where the function is described that code calls.
func (b *builder) called(name string) string {
	if dest := b.names[name]; dest != "" {
		return dest
	}
	return b.names[name+"()"]
}

func letter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// token returns how long the token is that text begins with: a comment, a string, a name
// with dots, or one other character.
func token(text string) int {
	switch c := text[0]; {
	case c == '#':
		if n := strings.IndexByte(text, '\n'); n >= 0 {
			return n
		}
		return len(text)
	case c == '"' || c == '\'':
		return quoted(text)
	case letter(c):
		n := 1
		for n < len(text) && (letter(text[n]) || text[n] >= '0' && text[n] <= '9' || text[n] == '.') {
			n++
		}
		return n
	}
	return 1
}

// quoted returns how long the string is that text begins with.
func quoted(text string) int {
	mark := text[:1]
	if strings.HasPrefix(text, strings.Repeat(mark, 3)) {
		mark = text[:3]
	}
	for i := len(mark); i < len(text); i++ {
		switch {
		case text[i] == '\\':
			i++
		case strings.HasPrefix(text[i:], mark):
			return i + len(mark)
		case text[i] == '\n' && len(mark) == 1:
			return i
		}
	}
	return len(text)
}
