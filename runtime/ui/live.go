package ui

import (
	"fmt"
	"strings"
	"time"
)

// maxRow is the widest row: on a wide terminal, times at its far end would be
// hard to match with names.
const maxRow = 100

// rowWidth leaves the last column free, where some terminals wrap early.
func rowWidth(width int) int { return max(1, min(width-1, maxRow)) }

// live returns the lines of the live area, each of at most width-1 columns.
func (t *tty) live(width, height int) []string {
	now, room := t.now(), max(1, height-2)
	under := 2 // lines under each running node
	for under > 0 && len(t.running)*(under+1) > room {
		under--
	}
	shown := t.running
	if len(shown) > room {
		shown = shown[:max(0, room-1)]
	}
	w := rowWidth(width)
	var rows []string
	for _, n := range shown {
		rows = append(rows, t.style.row(t.style.spinner(now.Sub(n.begin)), n.name, n.note, took(now.Sub(n.begin)), w))
		for _, line := range n.under(t.style, under, w-4) {
			rows = append(rows, "    "+line)
		}
	}
	if more := len(t.running) - len(shown); more > 0 {
		rows = append(rows, t.style.dim(fit(fmt.Sprintf("  and %s more", plural(more, "step")), w, "")))
	}
	if len(t.running) == 0 {
		// Nothing moves: what is waited for is worth a line.
		for _, n := range t.waiting[:min(len(t.waiting), 3, room)] {
			rows = append(rows, t.style.row(t.style.spinner(now.Sub(n.begin)), n.name, n.note, took(now.Sub(n.begin)), w))
		}
	}
	return append(rows, t.footer(w, now))
}

// under returns up to most lines that say what the node is at: its transfers,
// then the end of its output.
func (n *liveNode) under(s style, most, width int) []string {
	var lines []string
	transfers := n.transfers[:min(len(n.transfers), most)]
	column := 0 // in which all names end
	for _, x := range transfers {
		if !x.waits() {
			column = min(maxTransfer, max(column, columns(x.what)))
		}
	}
	for _, x := range transfers {
		lines = append(lines, x.line(s, column, width))
	}
	tail := n.tail[:]
	if part, ok := n.lines.rest(); ok && strings.TrimSpace(part) != "" {
		tail = []string{n.tail[1], s.text(part)}
	}
	for i, line := range tail {
		if line != "" && len(tail)-i <= most-len(lines) {
			lines = append(lines, s.dim(fit(line, width, s.more())))
		}
	}
	return lines
}

// maxTransfer is the widest name of a transfer.
const maxTransfer = 28

// waits reports whether nothing is moved: the node waits for something.
func (x *transfer) waits() bool { return x.done == 0 && x.total == 0 }

// line draws a transfer: its name, a bar, how much and how fast.
func (x *transfer) line(s style, column, width int) string {
	if x.waits() {
		return s.dim(fit(x.what, width, s.more()))
	}
	amount := Size(x.done)
	if x.total > 0 {
		amount = percent(x.done, x.total) + "  " + amount + " of " + Size(x.total)
	}
	if d := x.last.Sub(x.begin); d >= time.Second && x.done > x.first {
		amount += s.dot() + Size(int64(float64(x.done-x.first)/d.Seconds())) + "/s"
	}
	const barWidth = 24
	name := fit(x.what, column, s.more())
	name += strings.Repeat(" ", column-columns(name))
	need := columns(name) + 2 + columns(amount)
	switch {
	case x.total > 0 && need+barWidth+2 <= width:
		return s.dim(name) + "  " + s.bar(x.done, x.total, barWidth) + "  " + s.dim(amount)
	case need <= width:
		return s.dim(name + "  " + amount)
	}
	return s.dim(fit(amount, width, s.more()))
}

// footer draws the line that sums up.
func (t *tty) footer(width int, now time.Time) string {
	y := &t.tally
	elapsed := took(now.Sub(t.begin))
	if y.total == 0 {
		return t.style.row(" ", "preparing", "", elapsed, width)
	}
	text := fmt.Sprintf("%d of %s", y.ends(), plural(y.total, "step"))
	for _, p := range []struct {
		n    int
		what string
	}{
		{y.cached, "cached"}, {y.failed, "failed"}, {len(t.running), "running"},
		{y.total - y.ends() - len(t.running), "waiting"},
	} {
		if p.n > 0 {
			text += fmt.Sprintf("%s%d %s", t.style.dot(), p.n, p.what)
		}
	}
	const barWidth = 20
	room := width - columns(text) - columns(elapsed) - 5
	if room < barWidth {
		return t.style.row(" ", text, "", elapsed, width)
	}
	bar := t.style.bar(int64(y.ends()), int64(y.total), barWidth)
	return "  " + bar + " " + text + strings.Repeat(" ", room-barWidth+2) + t.style.dim(elapsed)
}
