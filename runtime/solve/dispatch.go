package solve

import (
	"errors"
	"fmt"
	"slices"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store"
)

// dispatch starts every unit that can run now.
func (r *run) dispatch() {
	r.mu.Lock()
	var start, wait []*unit
	var waitFor []string
	if r.ctx.Err() == nil {
		start = r.ready.take(&r.pool, func(u *unit, what string) {
			wait, waitFor = append(wait, u), append(waitFor, what)
		})
	}
	r.wg.Add(len(start))
	r.mu.Unlock()
	for i, u := range wait {
		r.c.Events.Send(event.Event{Type: event.Waiting, Node: r.node(u.node()), Text: waitFor[i]})
	}
	for _, u := range start {
		go func() {
			defer r.wg.Done()
			r.exec(u)
			r.mu.Lock()
			r.pool.give(u.claims)
			r.mu.Unlock()
			r.dispatch()
		}()
	}
}

// exec runs u and, when it is a layer, the chain that begins with it.
func (r *run) exec(u *unit) {
	switch u.role {
	case roleUpToDate:
		r.sendAll(u, event.Event{Type: event.Cached})
		r.sendFiles(u)
		r.finish(u, Done, false)
	case roleCheck:
		r.do(u, r.check)
		if err := r.tested(u); err != nil {
			u.end = Failed
			r.fail(err)
		}
		r.finish(u, u.end, false)
	case roleExport:
		r.do(u, r.export)
		r.finish(u, u.end, false)
	default:
		r.chain(u)
	}
}

// finish records the end of u. What waited for it can run now, and what depends
// on it is skipped if it did not succeed. In a chain, next is the step that goes
// on in the machine in which u was committed: the one with the longest way.
func (r *run) finish(u *unit, s State, inChain bool) (next *unit) {
	var skipped []*unit
	r.mu.Lock()
	u.state = s
	if s != Done {
		skipped = skipDependents(u, nil)
	}
	for _, d := range u.dependents {
		if s != Done {
			break
		}
		if d.waits--; d.waits > 0 || d.state != ToRun {
			continue
		}
		r.ready.add(d)
		if inChain && r.ctx.Err() == nil && d.role == roleStep && r.sched.ids[parent(d.node())].key == u.id.key &&
			(next == nil || d.rest > next.rest) {
			next = d
		}
	}
	if next != nil {
		next.taken = true
	}
	r.mu.Unlock()
	for _, ended := range append(skipped, u) {
		r.release(ended)
	}
	why := r.whyStopped()
	if s == Failed {
		why = fmt.Sprintf("needs %s, which failed", u.node().Name)
	} else if r.ctx.Err() == nil { // what it needs has failed
		why = fmt.Sprintf("needs %s, which did not come to its end", u.node().Name)
	}
	for _, d := range skipped {
		r.sendAll(d, event.Event{Type: event.Skipped, Text: why})
	}
	return next
}

// goesOn reports whether a step goes on in the machine in which u was just
// committed.
func (r *run) goesOn(u *unit) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ctx.Err() == nil && slices.ContainsFunc(u.dependents, func(d *unit) bool {
		return d.waits == 1 && d.state == ToRun && d.role == roleStep && r.sched.ids[parent(d.node())].key == u.id.key
	})
}

func skipDependents(u *unit, skipped []*unit) []*unit {
	for _, d := range u.dependents {
		if d.state == ToRun {
			d.state = Skipped
			skipped = skipDependents(d, append(skipped, d))
		}
	}
	return skipped
}

var errNoPlatform = errors.New("its layer has no platform")

// driver returns the driver of the machine that n runs in: that of the layer
// which n is or acts on, unless n says otherwise.
func (r *run) driver(n *plan.Node) (platforms.Driver, *plan.Platform, error) {
	if !isLayer(n) && n.Platform == nil {
		var err error
		if n, err = layerOf(n); err != nil {
			return nil, nil, err
		}
	}
	p := n.Platform
	if p == nil {
		return nil, nil, errNoPlatform
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.drivers[p.ID()]; d != nil {
		return d, p, nil
	}
	d, err := r.c.Drivers(p)
	if err != nil {
		return nil, nil, err
	}
	r.drivers[p.ID()] = d
	return d, p, nil
}

// chainOf returns the layers that a machine on the layer n is opened with, from the
// oldest to the newest. A remote layer comes alone.
func (r *run) chainOf(n *plan.Node) ([]platforms.Layer, error) {
	var chain []platforms.Layer
	for m := n; m != nil; m = parent(m) {
		l, err := r.layer(m)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", m.Name, err)
		}
		if chain = append(chain, l); l.Remote() {
			break
		}
	}
	slices.Reverse(chain)
	return chain, nil
}

// layer returns the layer n itself.
func (r *run) layer(n *plan.Node) (platforms.Layer, error) {
	k := r.sched.ids[n].key
	r.mu.Lock()
	l, ok := r.have[k]
	r.mu.Unlock()
	if ok {
		return l, nil
	}
	if l, ok = r.sched.found[k]; !ok {
		return l, store.ErrMissing
	}
	l, err := r.c.Layers.Check(r.ctx, l)
	if err == nil {
		r.mu.Lock()
		r.have[k] = l
		r.mu.Unlock()
	}
	return l, err
}

// complete adds to the traits of the layer n what its driver did not say when it was
// made.
func (r *run) complete(n *plan.Node, t platforms.Traits) (platforms.Traits, error) {
	if t.Arch != "" {
		return t, nil
	}
	origin, err := r.c.Layers.Describe(r.ctx, n)
	return t.Or(origin), err
}
