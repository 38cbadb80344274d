package build

import (
	"sync"
	"time"

	"bake.build/bake/runtime/event"
)

// notices takes what is to be told beside the events of nodes to the stream of the
// run, and outside of runs to who is notified. It is safe for concurrent use.
type notices struct {
	notify func(event.Event) // may be nil
	hold   bool              // keep what is told before a run for that

	mu     sync.Mutex
	events *event.Stream // of the run; nil before and after it
	held   []event.Event
}

// note tells something besides the build itself, and warn what needs attention.
func (n *notices) note(text string) { n.send(event.Event{Type: event.Note, Text: text}) }
func (n *notices) warn(text string) { n.send(event.Event{Type: event.Warning, Text: text}) }

func (n *notices) send(e event.Event) {
	n.mu.Lock()
	events := n.events
	if events == nil && n.hold {
		n.held = append(n.held, e)
	}
	n.mu.Unlock()
	switch {
	case events != nil:
		events.Send(e)
	case !n.hold && n.notify != nil:
		e.Time = time.Now()
		n.notify(e)
	}
}

// stream makes events the place where notices go; nil ends that.
func (n *notices) stream(events *event.Stream) {
	n.mu.Lock()
	var held []event.Event
	if n.events = events; events != nil {
		held, n.held = n.held, nil
	}
	n.mu.Unlock()
	for _, e := range held {
		events.Send(e)
	}
}

// flush tells what no stream took, and holds nothing any more.
func (n *notices) flush() {
	n.mu.Lock()
	held := n.held
	n.held, n.hold = nil, false
	n.mu.Unlock()
	for _, e := range held {
		n.send(e)
	}
}
