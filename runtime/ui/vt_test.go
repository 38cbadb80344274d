package ui

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// A vt is as much of a terminal as the display uses. It fails the test on any
// other control sequence.
type vt struct {
	t             *testing.T
	width, height int
	rows          [][]string // cells of the screen and of all that scrolled out above it
	top           int        // the first row of the screen
	row, col      int        // row counts from the first of rows
	writes        int
}

func newVT(t *testing.T, width, height int) *vt {
	return &vt{t: t, width: width, height: height, rows: make([][]string, 1)}
}

func (v *vt) Write(b []byte) (int, error) {
	v.writes++
	s := string(b)
	for s != "" {
		switch {
		case strings.HasPrefix(s, "\x1b["):
			end := strings.IndexFunc(s[2:], func(r rune) bool { return r >= '@' && r <= '~' })
			if end < 0 {
				v.t.Fatalf("sequence does not end: %q", s)
			}
			v.control(s[2:2+end], s[2+end])
			s = s[3+end:]
			continue
		case s[0] == '\r':
			v.col = 0
		case s[0] == '\n':
			v.down()
		case s[0] < ' ':
			v.t.Fatalf("control character %q", s[0])
		default:
			r, n := utf8.DecodeRuneInString(s)
			v.put(r)
			s = s[n:]
			continue
		}
		s = s[1:]
	}
	return len(b), nil
}

func (v *vt) control(arg string, final byte) {
	n, _ := strconv.Atoi(arg)
	switch final {
	case 'A':
		if v.row -= n; v.row < v.top {
			v.row = v.top
		}
	case 'J':
		v.rows = v.rows[:v.row+1]
		v.cut()
	case 'K':
		v.cut()
	case 'm':
	default:
		v.t.Fatalf("control sequence %q%c", arg, final)
	}
}

func (v *vt) cut() {
	v.rows[v.row] = v.rows[v.row][:min(v.col, len(v.rows[v.row]))]
}

func (v *vt) down() {
	if v.row++; v.row == len(v.rows) {
		v.rows = append(v.rows, nil)
	}
	v.top = max(v.top, v.row-v.height+1)
}

func (v *vt) put(r rune) {
	w := runewidth.RuneWidth(r)
	if v.col+w > v.width {
		v.col = 0
		v.down()
	}
	line := v.rows[v.row]
	if w == 0 && v.col > 0 && v.col <= len(line) {
		line[v.col-1] += string(r)
		return
	}
	for len(line) < v.col+w {
		line = append(line, " ")
	}
	if w > 0 {
		line[v.col] = string(r)
	}
	if w == 2 {
		line[v.col+1] = "" // covered by the wide character
	}
	v.rows[v.row] = line
	v.col += w
}

// resize wraps the rows again, as terminals do. The cursor stays in its row.
func (v *vt) resize(width, height int) {
	var rows [][]string
	for i, line := range v.rows {
		if i == v.row {
			v.row = len(rows)
		}
		for len(line) > width {
			rows, line = append(rows, line[:width:width]), line[width:]
		}
		rows = append(rows, line)
	}
	v.rows, v.width, v.height = rows, width, height
	v.top = max(0, len(rows)-height)
}

// text returns all rows, without the spaces at their ends.
func (v *vt) text() string {
	var b strings.Builder
	for _, line := range v.rows {
		b.WriteString(strings.TrimRight(strings.Join(line, ""), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
