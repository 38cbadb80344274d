package ui

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"bake.build/bake/runtime/event"
)

// frameTime is the least time between two frames.
const frameTime = 100 * time.Millisecond

// manyQuiet is from how many on nodes that are cached or did not run are only
// counted.
const manyQuiet = 8

// A tty is the live display.
type tty struct {
	style style
	size  func() (width, height int)
	now   func() time.Time
	begin time.Time
	stop  chan struct{}
	ended chan struct{}

	mu      sync.Mutex // guards what Event changes
	tally   tally
	nodes   map[int]*liveNode
	running []*liveNode // in the order of their start
	waiting []*liveNode // that wait for something before their start
	scroll  []func(width int) string
	cached  []string // names of cached nodes that are to be told
	skipped []string // names of nodes that did not run and are to be told
	changed bool

	screen screen // guarded by its own lock, taken before mu
}

// A liveNode is a node that runs.
type liveNode struct {
	id        int
	name      string
	note      string
	begin     time.Time
	lines     lines
	tail      [2]string // the last lines of its output
	transfers []*transfer
}

// A transfer is something of which the bytes are counted.
type transfer struct {
	what        string
	done, total int64
	first       int64 // done when it was first told
	begin       time.Time
	last        time.Time
}

func newTTY(out io.Writer, o Options) *tty {
	t := &tty{
		style: style{color: o.Getenv("NO_COLOR") == "", utf8: hasUTF8(o.Getenv)},
		size:  o.Size,
		now:   time.Now,
		begin: time.Now(),
		stop:  make(chan struct{}),
		ended: make(chan struct{}),
		tally: tally{dir: o.Dir},
		nodes: map[int]*liveNode{},
	}
	t.screen.out = out
	return t
}

// run draws frames until end.
func (t *tty) run() {
	go func() {
		defer close(t.ended)
		tick := time.NewTicker(frameTime)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				t.frame()
			case <-t.stop:
				return
			}
		}
	}()
}

// end draws the last frame and the summary.
func (t *tty) end() error {
	close(t.stop)
	<-t.ended
	t.Resume()
	t.mu.Lock()
	t.summarize()
	t.mu.Unlock()
	t.screen.mu.Lock()
	defer t.screen.mu.Unlock()
	width, _ := t.size()
	t.mu.Lock()
	above := t.takeScroll(width)
	t.mu.Unlock()
	t.screen.draw(above, nil, width)
	return t.screen.err
}

// Suspend implements Suspender.
func (t *tty) Suspend() {
	t.screen.mu.Lock()
	defer t.screen.mu.Unlock()
	width, _ := t.size()
	t.mu.Lock()
	above := t.takeScroll(width)
	t.mu.Unlock()
	t.screen.draw(above, nil, width)
	t.screen.suspended = true
}

// Resume implements Suspender.
func (t *tty) Resume() {
	t.screen.mu.Lock()
	defer t.screen.mu.Unlock()
	t.screen.suspended = false
}

// frame draws the present state.
func (t *tty) frame() {
	t.screen.mu.Lock()
	defer t.screen.mu.Unlock()
	if t.screen.suspended {
		return
	}
	width, height := t.size()
	t.mu.Lock()
	if !t.changed && t.tally.total == 0 {
		t.mu.Unlock()
		return
	}
	above := t.takeScroll(width)
	live := t.live(width, height)
	t.changed = false
	t.mu.Unlock()
	t.screen.draw(above, live, width)
}

// Event implements event.Reader.
func (t *tty) Event(e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed = true
	t.tally.event(e)
	if e.Node == nil {
		switch e.Type {
		case event.Note:
			t.say(signCached, "", e.Text)
		case event.Warning:
			t.say(signWarning, "", e.Text)
		}
		return
	}
	switch e.Type {
	case event.Waiting:
		if t.nodes[e.Node.ID] == nil {
			t.waiting = append(without(t.waiting, e.Node.ID), &liveNode{id: e.Node.ID, name: t.name(e.Node), note: "waits for " + t.style.text(e.Text), begin: t.now()})
		}
	case event.Started:
		n := &liveNode{id: e.Node.ID, name: t.name(e.Node), note: t.style.text(e.Text), begin: t.now()}
		t.nodes[n.id] = n
		t.running = append(t.running, n)
		t.waiting = without(t.waiting, n.id)
	case event.Warning:
		t.say(signWarning, t.name(e.Node), e.Text)
	case event.Cached:
		t.cached = append(t.cached, t.name(e.Node))
	case event.Skipped:
		t.skipped = append(t.skipped, t.name(e.Node))
	}
	if n := t.nodes[e.Node.ID]; n != nil {
		t.update(n, e)
	}
	if ends(e.Type) {
		delete(t.nodes, e.Node.ID)
		t.running = without(t.running, e.Node.ID)
		t.waiting = without(t.waiting, e.Node.ID)
	}
	t.tell(e)
}

func without(nodes []*liveNode, id int) []*liveNode {
	return slices.DeleteFunc(nodes, func(n *liveNode) bool { return n.id == id })
}

func (t *tty) name(n *event.Node) string {
	if s := t.style.text(n.Name); s != "" {
		return s
	}
	return n.Kind
}

// update changes what is shown of a running node.
func (t *tty) update(n *liveNode, e event.Event) {
	switch e.Type {
	case event.Output:
		n.waitsNoMore()
		n.endQuiet(t.now())
		n.lines.write(n.skip(e.Data), func(line string) {
			if line = t.style.text(line); line != "" {
				n.tail[0], n.tail[1] = n.tail[1], line
			}
		})
	case event.Waiting:
		n.note = "waits for " + t.style.text(e.Text)
	case event.Retry:
		n.note = fmt.Sprintf("try %d of %d", e.Done+1, e.Total)
		n.transfers = nil
		why := t.style.text(errText(e.Err))
		t.later(func(width int) string {
			return t.style.row(t.style.sign(signWarning), n.name, fmt.Sprintf("try %d of %d failed: %s", e.Done, e.Total, why), "", width)
		})
	case event.Progress:
		n.progress(t.style.text(e.Text), e.Done, e.Total, t.now())
	}
}

// skip leaves out of a large piece of output the lines that would scroll away
// before anybody could see them.
func (n *liveNode) skip(b []byte) []byte {
	const keep = 8 // lines
	end := len(b)
	for range keep {
		if end = bytes.LastIndexByte(b[:end], '\n'); end < 0 {
			return b
		}
	}
	n.lines = lines{}
	return b[end+1:]
}

// waitsNoMore forgets what the node waited for, once something else happens.
func (n *liveNode) waitsNoMore() {
	n.transfers = slices.DeleteFunc(n.transfers, (*transfer).waits)
}

// endlessQuiet is for how long nothing has come of a transfer of unknown length when
// output of the node says that it is at something else.
const endlessQuiet = 2 * time.Second

// endQuiet forgets transfers of unknown length that seem to be over. Nobody tells
// their end; one that goes on is shown again.
func (n *liveNode) endQuiet(now time.Time) {
	n.transfers = slices.DeleteFunc(n.transfers, func(x *transfer) bool {
		return x.total == 0 && now.Sub(x.last) >= endlessQuiet
	})
}

func (n *liveNode) progress(what string, done, total int64, now time.Time) {
	n.waitsNoMore()
	i := slices.IndexFunc(n.transfers, func(x *transfer) bool { return x.what == what })
	if i < 0 {
		i = len(n.transfers)
		n.transfers = append(n.transfers, &transfer{what: what, first: done, begin: now})
	}
	x := n.transfers[i]
	x.done, x.total, x.last = done, total, now
	if total > 0 && done >= total {
		n.transfers = slices.Delete(n.transfers, i, i+1)
	}
}

// tell makes the line that stays of a node that has ended.
func (t *tty) tell(e event.Event) {
	s, name, elapsed := t.style, t.name(e.Node), took(e.Elapsed)
	switch e.Type {
	case event.Done:
		t.later(func(width int) string { return s.row(s.sign(signDone), name, "", elapsed, width) })
	case event.Failed:
		why := s.text(errText(e.Err))
		t.later(func(width int) string { return s.row(s.sign(signFailed), name, why, elapsed, width) })
	case event.Canceled:
		t.later(func(width int) string { return s.row(s.sign(signStopped), name, "canceled", elapsed, width) })
	}
}

func (t *tty) say(s sign, name, text string) {
	if name != "" {
		name += ": "
	}
	line := t.style.sign(s) + " " + name + t.style.text(text)
	t.later(func(int) string { return line })
}

// later adds a line above the live area with the next frame.
func (t *tty) later(line func(width int) string) {
	t.quiet()
	t.scroll = append(t.scroll, line)
}

// quiet adds lines for what is cached or did not run, one for each or one for
// all.
func (t *tty) quiet() {
	t.cached = t.group(t.cached, signCached, "cached")
	t.skipped = t.group(t.skipped, signStopped, "not run")
}

func (t *tty) group(names []string, g sign, what string) []string {
	s := t.style
	if len(names) >= manyQuiet {
		all := plural(len(names), "step")
		names = []string{all}
	}
	for _, name := range names {
		t.scroll = append(t.scroll, func(width int) string { return s.quietRow(s.sign(g), name, what, width) })
	}
	return nil
}

func (t *tty) takeScroll(width int) []string {
	t.quiet()
	var above []string
	for _, line := range t.scroll {
		above = append(above, line(rowWidth(width)))
	}
	t.scroll = nil
	return above
}

// summarize adds the lines that end the display of a build.
func (t *tty) summarize() {
	if !t.tally.ended {
		return
	}
	for _, f := range t.tally.files {
		t.later(func(width int) string {
			return t.style.row(t.style.sign(signFile), t.style.text(f.path), "", f.sizeText(), width)
		})
	}
	if t.tally.ends() == 0 {
		return
	}
	verdict := t.style.bold(t.tally.verdict())
	t.later(func(int) string { return verdict })
}
