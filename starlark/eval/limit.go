package eval

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"time"

	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

const (
	samplePeriod = 2 * time.Millisecond
	stopGrace    = 500 * time.Millisecond // for the thread to stop after it was told to
	maxRange     = 10_000_000             // elements
)

// A LimitError says that a definition used more than it may.
type LimitError struct {
	What  string // "steps", "memory" or "time"
	Limit uint64 // steps, bytes or nanoseconds
}

func (e *LimitError) Error() string {
	switch e.What {
	case "memory":
		return fmt.Sprintf("evaluation stopped: it needs more than %d MiB of memory", e.Limit>>20)
	case "time":
		return fmt.Sprintf("evaluation stopped after %v: does it ever end?", time.Duration(e.Limit))
	}
	return fmt.Sprintf("evaluation stopped after %d steps: does it ever end?", e.Limit)
}

// limited runs evaluate on a goroutine of its own and stops it when ctx ends,
// the time is over or the heap grows beyond the limit.
func (r *run) limited(ctx context.Context, evaluate func() error) error {
	done := make(chan error, 1)
	go func() { done <- r.cause(r.bounded(evaluate)) }()

	base := readHeap()
	deadline := time.NewTimer(r.cfg.MaxTime)
	defer deadline.Stop()
	tick := time.NewTicker(samplePeriod)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return r.abandon(done, base, context.Cause(ctx))
		case <-deadline.C:
			return r.abandon(done, base, &LimitError{What: "time", Limit: uint64(r.cfg.MaxTime)})
		case <-tick.C:
			if readHeap().over(base, r.cfg.MaxMemory) {
				return r.abandon(done, base, &LimitError{What: "memory", Limit: r.cfg.MaxMemory})
			}
		}
	}
}

// bounded calls evaluate. A value that is too large for any memory, as of one
// text in place of each letter of another, is a panic of the Go runtime: it
// becomes an error.
func (r *run) bounded(evaluate func() error) (err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		e, ok := v.(runtime.Error)
		if !ok || !strings.Contains(e.Error(), "makeslice") && !strings.Contains(e.Error(), "growslice") {
			panic(v) // a bug of bake
		}
		err = fmt.Errorf("%s: %w", r.cfg.Project.Show(r.cfg.Project.Definition), &LimitError{What: "memory", Limit: r.cfg.MaxMemory})
	}()
	return evaluate()
}

// abandon stops the thread for the reason why. An operation that does not
// heed that in time, or takes much more memory meanwhile, is left behind.
func (r *run) abandon(done <-chan error, base heap, why error) error {
	r.thread.Cancel(why.Error())
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	tick := time.NewTicker(samplePeriod)
	defer tick.Stop()
	for grace := true; grace; {
		select {
		case err := <-done:
			if err == nil {
				return nil // it ended before it saw that it should
			}
			return at(err, why)
		case <-tick.C:
			grace = !readHeap().over(base, r.cfg.MaxMemory+r.cfg.MaxMemory/2)
		case <-timer.C:
			grace = false
		}
	}
	return &plan.Error{Err: fmt.Errorf("%s: %w", r.cfg.Project.Show(r.cfg.Project.Definition), why)}
}

// at returns why at the place where err happened.
func at(err, why error) error {
	if e, ok := err.(*starlark.EvalError); ok {
		return &plan.Error{Pos: framesOf(innermost(e).CallStack), Err: why}
	}
	return err
}

// A heap is the size of the process's heap, in bytes.
type heap struct {
	live    uint64 // what the last garbage collection found in use
	objects uint64 // with what is new since, and garbage
}

func readHeap() heap {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return heap{live: sample[0].Value.Uint64(), objects: sample[1].Value.Uint64()}
}

// over reports whether h has grown from base by more than limit. What is not
// known to be live may be garbage, which the collector lets grow to as much
// again before it looks.
func (h heap) over(base heap, limit uint64) bool {
	return h.live > base.live+limit || h.objects > base.objects+2*limit
}
