package module

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.starlark.net/syntax"
)

// New returns the text of the first bake.mod of a module.
func New(path string) []byte {
	return fmt.Appendf(nil, "module(%q)\n", path)
}

// String writes the requirement as bake.mod has it.
func (r Require) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "require(\n    %q,\n", r.Path)
	if r.Version != "" {
		fmt.Fprintf(&b, "    %q,\n", r.Version)
	}
	if r.Name != "" && r.Name != NameOf(r.Path) {
		fmt.Fprintf(&b, "    name = %q,\n", r.Name)
	}
	fmt.Fprintf(&b, "    source = %q,\n)\n", r.Source)
	return b.String()
}

// With returns the file with the requirement r: in place of the one of its path or
// its name, or behind the last. Everything else, comments and all, is kept as it
// stands.
func (f *File) With(r Require) (*File, error) {
	was := f.Require(r.Path)
	if named := f.Require(r.Name); was == nil {
		was = named
	}
	text := f.text
	switch {
	case was != nil && was.Path == r.Path && was.Source == r.Source && was.Name == r.Name && was.version != nil && r.Version != "":
		start := f.offset(was.version.TokenPos)
		text = splice(text, start, start+len(was.version.Raw), fmt.Sprintf("%q", r.Version))
	case was != nil:
		start, end := f.span(was.call)
		text = splice(text, start, end, strings.TrimSuffix(r.String(), "\n"))
	default:
		text = f.appended(r)
	}
	return Parse(f.Name, text)
}

// appended returns the text with r behind the last requirement, or at the end.
func (f *File) appended(r Require) []byte {
	at, gap := len(f.text), "\n"
	if n := len(f.Requires); n > 0 {
		_, at = f.span(f.Requires[n-1].call)
		at += lineEnd(f.text[at:])
	}
	if at > 0 && f.text[at-1] != '\n' {
		gap = "\n\n"
	}
	return splice(f.text, at, at, gap+r.String())
}

// Without returns the file without the requirement of the module path.
func (f *File) Without(path string) (*File, error) {
	r := f.Require(path)
	if r == nil {
		return nil, fmt.Errorf("%s requires no module %s", f.Name, path)
	}
	start, end := f.span(r.call)
	end += lineEnd(f.text[end:])
	if bytes.HasSuffix(f.text[:start], []byte("\n\n")) {
		start-- // with the empty line before it
	}
	return Parse(f.Name, splice(f.text, start, end, ""))
}

// lineEnd returns the length of what is left of a line, with its end.
func lineEnd(text []byte) int {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return i + 1
	}
	return len(text)
}

func splice(text []byte, start, end int, with string) []byte {
	return append(append(append([]byte{}, text[:start]...), with...), text[end:]...)
}

// span returns where a call stands in the text.
func (f *File) span(call *syntax.CallExpr) (start, end int) {
	from, to := call.Span()
	return f.offset(from), f.offset(to)
}

// offset returns the byte at which a position is; columns count characters.
func (f *File) offset(p syntax.Position) int {
	at := 0
	if bytes.HasPrefix(f.text, []byte("\ufeff")) {
		at = len("\ufeff")
	}
	for line := int32(1); line < p.Line; line++ {
		at += lineEnd(f.text[at:])
	}
	for col := int32(1); col < p.Col && at < len(f.text); col++ {
		_, size := utf8.DecodeRune(f.text[at:])
		at += size
	}
	return at
}
