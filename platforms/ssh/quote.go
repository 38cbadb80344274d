package ssh

import (
	"fmt"
	"strings"
)

// quote writes s as one word of shell, on one line: ends of lines are taken from
// the variable _n.
func quote(s string) string {
	s = strings.ReplaceAll(s, `'`, `'\''`)
	return `'` + strings.ReplaceAll(s, "\n", `'"$_n"'`) + `'`
}

// encode writes data as the argument of printf %b, within single quotes.
func encode(data []byte) string {
	var b strings.Builder
	for _, c := range data {
		switch {
		case c == '\n':
			b.WriteString(`\n`)
		case c < ' ' || c > '~' || c == '\\' || c == '\'':
			fmt.Fprintf(&b, `\0%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
