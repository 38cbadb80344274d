package fake

import "strings"

// A word is one word of a script.
type word struct {
	text    string
	quoted  bool
	literal bool // in single quotes
}

// A line is one simple command, with the operators around it.
type line struct {
	words         []word
	after, before string // ";", "&&" or "||"
}

// split cuts a script into simple commands.
func split(script string) []line {
	var lines []line
	current := line{after: ";"}
	finish := func(op string) {
		current.before = op
		if len(current.words) > 0 {
			lines = append(lines, current)
		}
		current = line{after: op}
	}
	for i := 0; i < len(script); {
		switch c := script[i]; {
		case c == '\n' || c == ';':
			finish(";")
			i++
		case c == '#' && (i == 0 || strings.ContainsRune(" \n;", rune(script[i-1]))):
			for i < len(script) && script[i] != '\n' {
				i++
			}
		case strings.HasPrefix(script[i:], "&&"), strings.HasPrefix(script[i:], "||"):
			finish(script[i : i+2])
			i += 2
		case c == ' ' || c == '\t':
			i++
		default:
			w, n := readWord(script[i:])
			current.words = append(current.words, w)
			i += n
		}
	}
	finish(";")
	return lines
}

// readWord reads one word and returns how many bytes it took.
func readWord(s string) (word, int) {
	for _, op := range []string{"2>&1", ">&2", ">>", ">"} {
		if strings.HasPrefix(s, op) {
			return word{text: op}, len(op)
		}
	}
	var w word
	i := 0
	for i < len(s) && !strings.ContainsRune(" \t\n;", rune(s[i])) {
		if q := s[i]; q == '\'' || q == '"' {
			end := strings.IndexByte(s[i+1:], q)
			if end < 0 {
				end = len(s) - i - 1
			}
			w.text += s[i+1 : i+1+end]
			w.quoted = true
			w.literal = w.literal || q == '\''
			i = min(i+end+2, len(s))
			continue
		}
		w.text += s[i : i+1]
		i++
	}
	return w, i
}
