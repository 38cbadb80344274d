package solve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store"
)

// A Result is what became of a run. Identical nodes are counted once.
type Result struct {
	Targets []Target
	Cached  int // needed nodes whose result stood
	Ran     int // nodes that ran and succeeded
	Failed  int
	Stopped int // nodes that were stopped or never began
	Elapsed time.Duration
}

// A Target is what became of one target.
type Target struct {
	Node  *plan.Node
	Key   plan.Key // the identity of its result in this run
	State State    // Cached, Done, Failed, Canceled or Skipped
	Files []File   // of an artifact that is Cached or Done
}

// Run makes the targets, nodes of the sealed plan p. The error joins one
// *NodeError for each node that failed, or is the cause of ctx's end. The Result
// is never nil.
func Run(ctx context.Context, c Config, p *plan.Plan, targets []*plan.Node) (res *Result, err error) {
	begin := time.Now()
	masker := &Masker{}
	r := &run{
		c:       &c,
		parent:  ctx,
		masker:  masker,
		secrets: &secrets{ask: c.Secrets, masker: masker, known: map[string][]byte{}},
		units:   map[plan.Key]*unit{},
		pool:    pool{used: map[string]int64{}},
		nodes:   map[*plan.Node]*event.Node{},
		have:    map[plan.Key]platforms.Layer{},
		drivers: map[string]platforms.Driver{},
	}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	defer r.cancel(nil)
	res = &Result{}
	defer func() {
		err = masker.Error(err)
		res.Elapsed = time.Since(begin)
		c.Events.Send(event.Event{Type: event.Finished, Err: err, Elapsed: res.Elapsed})
	}()
	ids := identify(p)
	release, err := r.lease(ids)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := r.prepare(p, targets, ids); err != nil {
		return res, err
	}
	if c.LogDir != "" {
		if err := sweepLogs(c.LogDir, begin, logBytes); err != nil {
			r.warn(nil, "remove old logs: %v", err)
		}
	}
	r.announce()
	r.dispatch()
	r.wg.Wait()
	r.skipRest()
	if err := r.settleFailed(); err != nil {
		return res, errors.Join(r.err(), err)
	}
	r.fill(res)
	if s, ok := c.Store.(Syncer); ok && res.Ran > 0 {
		if err := s.Sync(); err != nil {
			return res, errors.Join(r.err(), err)
		}
	}
	return res, r.err()
}

// A run is one call of Run.
type run struct {
	c       *Config
	parent  context.Context // ends when the user stops the build
	ctx     context.Context // ends with parent, or at the first failure
	cancel  context.CancelCauseFunc
	masker  *Masker
	secrets *secrets
	sched   *Schedule
	names   map[*plan.Node]string // the target that each node is built for
	wg      sync.WaitGroup        // running units
	shells  sync.Mutex            // one interactive session at a time

	mu      sync.Mutex
	order   []*unit // all units, in the order of definition
	units   map[plan.Key]*unit
	ready   queue
	pool    pool
	nodes   map[*plan.Node]*event.Node
	have    map[plan.Key]platforms.Layer // layers that machines can begin on
	tests   map[plan.Key]*underTest      // by artifact
	drivers map[string]platforms.Driver
	errs    []*NodeError
}

// errFailed is the cause for which a run stops at its first failure.
var errFailed = errors.New("another step failed")

// prepare decides what runs, checks that it can, and makes the units.
func (r *run) prepare(p *plan.Plan, targets []*plan.Node, ids map[*plan.Node]identity) error {
	gone := map[plan.Key]bool{}
	for {
		s, err := decide(r.ctx, r.c, p, targets, ids, gone)
		if err != nil {
			return err
		}
		r.sched = s
		if whole, err := r.load(gone); err != nil {
			return err
		} else if whole {
			break
		}
	}
	var toRun []*plan.Node
	for _, n := range r.sched.reached {
		if d := r.sched.nodes[n]; d.State == ToRun && d.Same == nil {
			toRun = append(toRun, n)
		}
	}
	if err := r.secrets.check(toRun); err != nil {
		return err
	}
	return r.link()
}

// load checks the layers on which something will run. A damaged one
// is added to gone, and whole is false.
func (r *run) load(gone map[plan.Key]bool) (whole bool, err error) {
	whole = true
	for _, n := range r.sched.reached {
		if d := r.sched.nodes[n]; d.State != ToRun || d.Same != nil {
			continue
		}
		for _, d := range needs(n) {
			if !isLayer(d) || r.sched.nodes[d].State != Cached {
				continue
			}
			for m := d; m != nil; m = parent(m) {
				if err := r.ctx.Err(); err != nil {
					return false, context.Cause(r.ctx)
				}
				k := r.sched.ids[m].key
				l, ok := r.have[k]
				if !ok && gone[k] {
					continue
				} else if !ok {
					l, err = r.c.Layers.Check(r.ctx, r.sched.found[k])
				}
				if errors.Is(err, store.ErrMissing) {
					gone[k], whole = true, false
					continue
				} else if err != nil {
					return false, &NodeError{Node: m, Err: err}
				}
				if r.have[k] = l; l.Remote() {
					break
				}
			}
		}
	}
	return whole, nil
}

func (r *run) lease(ids map[*plan.Node]identity) (release func() error, err error) {
	l, ok := r.c.Store.(Leaser)
	if !ok {
		return func() error { return nil }, nil
	}
	keys := make([]plan.Key, 0, len(ids))
	for _, id := range ids {
		keys = append(keys, id.key)
	}
	release, err = l.Lease(keys...)
	if err != nil {
		return nil, fmt.Errorf("lease layers: %w", err)
	}
	return release, nil
}

// announce tells what is known before anything runs.
func (r *run) announce() {
	run, cached := r.sched.Count()
	var events []event.Event
	for _, n := range r.sched.reached {
		d := r.sched.nodes[n]
		if d.State != Cached || r.units[d.Key] != nil {
			continue
		}
		events = append(events, event.Event{Type: event.Cached, Node: r.node(n)})
		if r.underTest(d.Key) == nil {
			events = append(events, r.artifacts(n, d.Files)...)
		}
	}
	r.c.Events.Send(event.Event{Type: event.Planned, Total: int64(run + cached)})
	for _, e := range events {
		r.c.Events.Send(e)
	}
}

// node returns n as events name it.
func (r *run) node(n *plan.Node) *event.Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.nodes[n]; e != nil {
		return e
	}
	e := &event.Node{
		ID:     n.ID,
		Key:    r.sched.ids[n].key.String(),
		Name:   n.Name,
		Kind:   n.Op.Kind(),
		Target: r.names[n],
	}
	if n.Platform != nil {
		e.Platform = n.Platform.Name
	}
	if len(n.Pos) > 0 {
		e.Pos = plan.Place(n.Pos).String()
	}
	r.nodes[n] = e
	return e
}

// skipRest tells of the units that never began.
func (r *run) skipRest() {
	why := r.whyStopped()
	for _, u := range r.order {
		if u.state != ToRun {
			continue
		}
		if u.state = Skipped; r.ctx.Err() == nil {
			r.errs = append(r.errs, &NodeError{Node: u.nodes[0], Err: errors.New(why)})
		}
		r.release(u)
		r.sendAll(u, event.Event{Type: event.Skipped, Text: why})
	}
}

func (r *run) whyStopped() string {
	switch {
	case r.ctx.Err() == nil:
		return "it waits for itself"
	case errors.Is(context.Cause(r.ctx), errFailed):
		return "the build stopped at a failure"
	}
	return "the build was canceled"
}

// fail records a failure. Unless the run keeps going, what runs is stopped.
func (r *run) fail(e *NodeError) {
	r.mu.Lock()
	r.errs = append(r.errs, e)
	r.mu.Unlock()
	if !r.c.KeepGoing {
		r.cancel(errFailed)
	}
}

// fill counts what became of the nodes.
func (r *run) fill(res *Result) {
	_, res.Cached = r.sched.Count()
	for _, u := range r.order {
		switch {
		case u.role == roleUpToDate && u.state == Done:
		case u.role == roleUpToDate:
			res.Cached--
			res.Stopped++
		case u.state == Done && u.elsewhere:
			res.Cached++
		case u.state == Done:
			res.Ran++
		case u.state == Failed:
			res.Failed++
		default:
			res.Stopped++
		}
	}
	for _, n := range r.sched.Targets {
		d := r.sched.Of(n)
		t := Target{Node: n, Key: d.Key, State: d.State, Files: d.Files}
		if u := r.units[d.Key]; u != nil {
			if t.State = u.state; u.role == roleUpToDate && u.state == Done {
				t.State = Cached
			} else {
				t.Files = u.files
			}
		}
		res.Targets = append(res.Targets, t)
	}
}

// err returns why the user stopped the run, if so, and the failures in the order
// of definition.
func (r *run) err() error {
	slices.SortStableFunc(r.errs, func(a, b *NodeError) int { return a.Node.ID - b.Node.ID })
	var errs []error
	if r.parent.Err() != nil {
		errs = append(errs, context.Cause(r.parent))
	}
	for _, e := range r.errs {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}
