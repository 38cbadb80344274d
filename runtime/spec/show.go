package spec

import (
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"go.starlark.net/starlark"
)

// What is shown of values in a failure.
const (
	maxShownBytes = 64 << 10
	maxLine       = 60 // what is longer gets a line for each element
	maxNested     = 50
)

// show writes a value as the language has it, a long one on several lines.
func show(v starlark.Value) string { return showWithin(v, maxLine) }

// showWithin writes what is longer than width with a line for each element.
func showWithin(v starlark.Value, width int) string {
	var b strings.Builder
	write(&b, v, width, 0)
	if b.Len() > maxShownBytes {
		return strings.ToValidUTF8(b.String()[:maxShownBytes], "") + "…"
	}
	return b.String()
}

func write(b *strings.Builder, v starlark.Value, width, depth int) {
	text := ""
	if depth >= maxNested || b.Len() > maxShownBytes {
		text = "…"
	} else if s, ok := starlark.AsString(v); ok && depth == 0 && strings.Contains(s, "\n") {
		text = s // its lines say more than its escapes
	} else {
		text = v.String()
	}
	margin := "\n" + strings.Repeat("    ", depth)
	if len(text) <= width || depth >= maxNested {
		b.WriteString(text)
		return
	}
	switch v := v.(type) {
	case *starlark.List:
		writeElements(b, v, "[", "]", depth)
	case starlark.Tuple:
		writeElements(b, v, "(", ")", depth)
	case *starlark.Dict:
		b.WriteString("{")
		for _, kv := range v.Items() {
			b.WriteString(margin + "    " + kv[0].String() + ": ")
			write(b, kv[1], maxLine, depth+1)
			b.WriteString(",")
		}
		b.WriteString(margin + "}")
	default:
		b.WriteString(text)
	}
}

func writeElements(b *strings.Builder, v starlark.Sequence, open, end string, depth int) {
	margin := "\n" + strings.Repeat("    ", depth)
	b.WriteString(open)
	for e := range starlark.Elements(v) {
		b.WriteString(margin + "    ")
		write(b, e, maxLine, depth+1)
		b.WriteString(",")
	}
	b.WriteString(margin + end)
}

// differenceOf shows two values that differ. Where one has a line for each element, so
// has the other.
func differenceOf(got, want starlark.Value) string {
	a, b := show(got), show(want)
	if strings.Contains(a, "\n") != strings.Contains(b, "\n") {
		a, b = showWithin(got, 0), showWithin(want, 0)
	}
	return difference(a, b)
}

// difference shows two texts that differ: short ones both, long ones as a diff.
func difference(got, want string) string {
	if !strings.Contains(got, "\n") && !strings.Contains(want, "\n") {
		return "\ngot:  " + got + "\nwant: " + want
	}
	text := string(diff.Diff("want", []byte(ending(want)), "got", []byte(ending(got))))
	_, text, _ = strings.Cut(text, "\n") // "diff want got"
	return "\n" + strings.TrimRight(text, "\n")
}

func ending(s string) string {
	if strings.HasSuffix(s, "\n") {
		return s
	}
	return s + "\n"
}
