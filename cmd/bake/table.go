package main

import (
	"io"
	"os"
	"strings"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"

	"bake.build/bake/internal/printable"
)

// A table is rows of cells that are shown in columns. It fits the width of the
// terminal: first the cells of one column are left out, then those of others cut.
type table struct {
	rows [][]string
	drop int    // the column that is left out first
	cut  []int  // the columns that are cut, the first one first
	more string // what stands where something was cut
}

const columnGap = 2

// write writes the table to w, in at most width columns; 0 means any.
func (t *table) write(w io.Writer, width int) error {
	widths := t.widths()
	total := func() int {
		n := 0
		for i, c := range widths {
			if c > 0 && i > 0 {
				n += columnGap
			}
			n += c
		}
		return n
	}
	if width > 0 && total() > width {
		widths[t.drop] = 0
	}
	const least = 16
	for _, i := range t.cut {
		if over := total() - width; width > 0 && over > 0 {
			widths[i] = max(min(least, widths[i]), widths[i]-over)
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		line := ""
		for i, cell := range row {
			if widths[i] == 0 {
				continue
			}
			if i > 0 {
				line += strings.Repeat(" ", columnGap)
			}
			cell = runewidth.Truncate(cell, widths[i], t.more)
			line += cell + strings.Repeat(" ", widths[i]-runewidth.StringWidth(cell))
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *table) widths() []int {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
		}
	}
	return widths
}

// columnsOf returns how many columns the terminal has that w writes to, or 0 when
// it is none.
func columnsOf(w io.Writer) int {
	f, ok := printable.Raw(w).(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}
