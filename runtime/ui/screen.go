package ui

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

// A screen draws the live area. Between two draws the cursor stands in the
// first column of the last line of the area, which is blank, and every attribute
// is off.
type screen struct {
	out io.Writer
	err error // the first of writing

	mu        sync.Mutex
	suspended bool
	drawn     []int // the columns of each line of the area
	last      []byte
	buf       bytes.Buffer
}

// draw puts lines above the live area and draws it again, in one write.
func (s *screen) draw(above, live []string, width int) {
	if s.err != nil {
		return
	}
	b := &s.buf
	b.Reset()
	if up := s.up(width); up > 0 {
		fmt.Fprintf(b, "\r\x1b[%dA", up)
	} else if len(s.drawn) > 0 {
		b.WriteByte('\r')
	}
	if len(s.drawn) > 0 && (len(above) > 0 || len(live) == 0) {
		b.WriteString("\x1b[J")
	}
	for _, line := range above {
		b.WriteString(line)
		b.WriteString("\r\n")
	}
	for i, line := range live {
		b.WriteString(line)
		if i < len(live)-1 {
			b.WriteString("\x1b[K\r\n")
		} else {
			b.WriteString("\x1b[J\r")
		}
	}
	s.drawn = s.drawn[:0]
	for _, line := range live {
		s.drawn = append(s.drawn, columns(unpainted(line)))
	}
	if len(above) == 0 && bytes.Equal(b.Bytes(), s.last) {
		return
	}
	s.last = append(s.last[:0], b.Bytes()...)
	if b.Len() > 0 {
		_, s.err = s.out.Write(b.Bytes())
	}
}

// up returns how many rows the cursor is below the first of the area. A terminal
// that became narrower has wrapped its lines.
func (s *screen) up(width int) int {
	rows := 0
	for i, w := range s.drawn {
		if i < len(s.drawn)-1 {
			rows += max(1, (w+width-1)/max(1, width))
		}
	}
	return rows
}

// unpainted returns the line without the attributes of paint.
func unpainted(line string) string {
	if !strings.Contains(line, "\x1b") {
		return line
	}
	var s strings.Builder
	for line != "" {
		before, rest, found := strings.Cut(line, "\x1b[")
		s.WriteString(before)
		if !found {
			break
		}
		_, line, _ = strings.Cut(rest, "m")
	}
	return s.String()
}
