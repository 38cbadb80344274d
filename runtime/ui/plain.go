package ui

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"bake.build/bake/internal/printable"
	"bake.build/bake/runtime/event"
)

// plainName is how many columns of a step's name stand before its lines, and
// plainProgress is how often a transfer is told.
const (
	plainName     = 32
	plainProgress = 10 * time.Second
)

// A plain writes lines, each with the name of its step. Lines of steps that run
// in parallel alternate, and are never mixed.
type plain struct {
	out   io.Writer
	tally tally
	nodes map[int]*plainNode
	names map[string]int // the node that a name was given to
	open  int            // nodes that run
	begun int            // nodes that have run or run
	clock string         // the time of the event, before each line
	buf   bytes.Buffer
	err   error
}

type plainNode struct {
	prefix  string
	started bool // and has not ended
	begun   bool // has started once
	lines   lines
	told    map[string]*told // by the text of its Progress events
}

func newPlain(out io.Writer, o Options) *plain {
	return &plain{out: out, tally: tally{dir: o.Dir}, nodes: map[int]*plainNode{}, names: map[string]int{}}
}

// node returns the state of n. Where two nodes have the same name, the second
// has its number behind it.
func (p *plain) node(n *event.Node) *plainNode {
	if s := p.nodes[n.ID]; s != nil {
		return s
	}
	name := fit(printable.OneLine(n.Name), plainName, "…")
	if name == "" {
		name = n.Kind
	}
	if _, used := p.names[name]; used {
		name = fmt.Sprintf("%s #%d", name, n.ID)
	}
	p.names[name] = n.ID
	s := &plainNode{prefix: name + " | ", told: map[string]*told{}}
	p.nodes[n.ID] = s
	return s
}

// Event implements event.Reader. All lines of an event are one write.
func (p *plain) Event(e event.Event) {
	p.tally.event(e)
	p.buf.Reset()
	if p.clock = ""; !e.Time.IsZero() {
		p.clock = e.Time.Format("15:04:05 ")
	}
	if e.Node == nil {
		p.build(e)
	} else {
		n := p.node(e.Node)
		if ends(e.Type) || e.Type == event.Retry {
			p.flush(n)
		}
		p.step(n, e)
		if ends(e.Type) && n.started {
			p.open--
			n.started = false
		}
	}
	if p.buf.Len() == 0 {
		return
	}
	if _, err := p.out.Write(p.buf.Bytes()); err != nil && p.err == nil {
		p.err = err
	}
}

func (p *plain) line(prefix, format string, args ...any) {
	p.buf.WriteString(p.clock)
	p.buf.WriteString(prefix)
	fmt.Fprintf(&p.buf, format, args...)
	p.buf.WriteByte('\n')
}

// build tells what concerns the whole build.
func (p *plain) build(e event.Event) {
	switch e.Type {
	case event.Note:
		p.line("", "%s", printable.OneLine(e.Text))
	case event.Warning:
		p.line("", "warning: %s", printable.OneLine(e.Text))
	case event.Finished:
		p.clock = "" // programs read these
		for _, f := range p.tally.files {
			p.line("", "%s", printable.OneLine(f.String()))
		}
		if p.tally.ends() > 0 {
			p.line("", "%s", p.tally.verdict())
		}
	}
}

// step tells what concerns one node.
func (p *plain) step(n *plainNode, e event.Event) {
	switch e.Type {
	case event.Output:
		n.lines.write(e.Data, func(line string) { p.line(n.prefix, "%s", line) })
	case event.Waiting:
		if p.open == 0 || n.started {
			p.line(n.prefix, "waits for %s", printable.OneLine(e.Text))
		}
	case event.Started:
		p.open++
		n.started = true
		if n.begun {
			p.line(n.prefix, "started again%s", because(e.Text))
			return
		}
		n.begun = true
		p.begun++
		p.line(n.prefix, "started%s%s", p.number(), because(e.Text))
	case event.Progress:
		p.progress(n, e)
	case event.Retry:
		p.line(n.prefix, "try %d of %d failed: %s", e.Done, e.Total, errText(e.Err))
	case event.Cached:
		p.line(n.prefix, "cached%s", because(e.Text))
	case event.Done:
		p.line(n.prefix, "done in %s", took(e.Elapsed))
	case event.Failed:
		p.line(n.prefix, "failed after %s: %s", took(e.Elapsed), errText(e.Err))
	case event.Canceled:
		p.line(n.prefix, "canceled after %s", took(e.Elapsed))
	case event.Skipped:
		p.line(n.prefix, "not run%s", because(e.Text))
	case event.Warning:
		p.line(n.prefix, "warning: %s", printable.OneLine(e.Text))
	}
}

// number says which step of the build begins, where it is known how many there
// are. Those that need not run come first.
func (p *plain) number() string {
	n := p.tally.cached + p.begun
	if n > p.tally.total {
		return ""
	}
	return fmt.Sprintf(" (step %d of %d)", n, p.tally.total)
}

// flush tells the line that the node's output ended with.
func (p *plain) flush(n *plainNode) {
	if s, ok := n.lines.rest(); ok {
		p.line(n.prefix, "%s", s)
	}
	n.lines = lines{}
}

func (p *plain) progress(n *plainNode, e event.Event) {
	t := n.told[e.Text]
	if t == nil {
		t = &told{last: e.Time}
		n.told[e.Text] = t
	}
	complete := e.Total > 0 && e.Done >= e.Total
	switch {
	case t.over:
		return
	case complete && !t.long:
		t.over = true // what is over soon needs no word
		return
	case !complete && e.Time.Sub(t.last) < plainProgress:
		return
	}
	t.last, t.long, t.over = e.Time, true, complete
	of := ""
	if e.Total > 0 {
		of = " of " + Size(e.Total)
	}
	p.line(n.prefix, "%s: %s%s", printable.OneLine(e.Text), Size(e.Done), of)
}

// A told is what is known of one text of a node's Progress events.
type told struct {
	last time.Time // of its last line, or of its first event
	long bool      // it has a line
	over bool
}

func (p *plain) end() error { return p.err }

func because(text string) string {
	if text == "" {
		return ""
	}
	return ": " + printable.OneLine(text)
}

// errText is the first line of an error, for a display that another follows
// which shows the whole.
func errText(err error) string {
	if err == nil {
		return "unknown error"
	}
	first, _, _ := bytes.Cut([]byte(err.Error()), []byte("\n"))
	return printable.OneLine(string(first))
}
