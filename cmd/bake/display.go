package main

import (
	"errors"
	"sync"

	"bake.build/bake/internal/printable"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/ui"
)

// A display shows a run. It begins with the first event, so that a verb that finds
// all it needs shows nothing.
type display struct {
	*app
	mode string    // one of ui.Modes
	runs sync.Once // the first node that runs

	mu     sync.Mutex
	reader event.Reader // nil before the first event
	end    func() error
	err    error // of starting it
}

// Event implements event.Reader.
func (d *display) Event(e event.Event) {
	d.mu.Lock()
	if d.reader == nil && d.err == nil {
		d.reader, d.end, d.err = d.start()
	}
	reader := d.reader
	d.mu.Unlock()
	if e.Type == event.Started {
		d.runs.Do(func() { letHeapGrow(steadyGC) })
	}
	if reader != nil {
		reader.Event(e)
	}
}

// start makes the reader of events: JSON goes to the standard output, for programs,
// and everything else to the standard error.
func (d *display) start() (event.Reader, func() error, error) {
	out := d.stderr
	if d.mode == "json" {
		out = d.stdout
	}
	return ui.New(d.mode, printable.Raw(out), ui.Options{Getenv: d.getenv, Dir: d.dir})
}

// close draws what is left. The next event begins a new display.
func (d *display) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.err
	if d.end != nil {
		err = errors.Join(err, d.end())
	}
	d.reader, d.end, d.err = nil, nil, nil
	return err
}

// suspend takes a live display, if there is one, off the terminal until resume is
// called.
func (d *display) suspend() (resume func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	live, ok := d.reader.(ui.Suspender)
	if !ok {
		return func() {}
	}
	live.Suspend()
	return live.Resume
}
