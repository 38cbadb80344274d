package solve

import (
	"context"
	"fmt"
	"sync"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/plan"
)

// A chain is a machine that goes along the units of a chain of steps.
type chain struct {
	r *run
	m platforms.Machine // nil when it has to be opened

	mu     sync.Mutex
	killed bool // m was closed from outside since it did not heed its context
	err    error
}

// chain runs u, a layer, and the steps that can go on in its machine.
func (r *run) chain(u *unit) {
	c := &chain{r: r}
	for u != nil {
		ok := r.do(u, func(t *task) error { return c.layer(t) })
		if !ok {
			r.finish(u, u.end, false)
			break
		}
		if !r.goesOn(u) {
			c.drop() // before what waits for the layer asks for a machine on it
		}
		if u = r.finish(u, Done, true); u != nil {
			r.dispatch() // the other branches do not wait for the end of this one
		}
	}
	c.drop()
}

// layer makes the layer of t unless another process has made it meanwhile.
func (c *chain) layer(t *task) error {
	n := t.u.node()
	d, _, err := c.r.driver(n)
	if err != nil {
		return err
	}
	waiting := func() {
		t.send(event.Event{Type: event.Waiting, Text: "another build that makes this layer"})
	}
	var failure error
	l, made, err := c.r.c.Layers.Make(c.r.ctx, c.r.sched.spec(n), waiting, func(dir string) (m platforms.Made, err error) {
		defer func() { failure = err }()
		defer catch(&err)
		t.start()
		if op, ok := n.Op.(plan.Source); ok {
			m, err = t.importTo(op, d, dir)
		} else {
			m, err = c.step(t, d, dir)
		}
		if err == nil && !m.Dropped {
			m.Traits, err = c.r.complete(n, m.Traits)
		}
		return m, err
	})
	if failure != nil {
		err = failure // without what the store adds to it
	} else if err != nil {
		err = fmt.Errorf("keep layer: %w", err)
	}
	if err != nil || !made {
		c.drop() // its state is not that of the layer
	}
	if err != nil {
		return err
	}
	t.elsewhere = !made
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	if t.u.dropped = l == nil; l != nil {
		c.r.have[t.u.id.key] = *l
	}
	return nil
}

// needed reports whether something else than the next step in the machine needs the
// layer u.
func (r *run) needed(u *unit) bool { return len(u.dependents) != 1 || !r.goesOn(u) }

// step runs the step of t in the machine and commits it, to dir if that is given.
func (c *chain) step(t *task, d platforms.Driver, dir string) (platforms.Made, error) {
	n := t.u.node()
	if err := c.apply(t, d); err != nil {
		return platforms.Made{}, err
	}
	m, err := c.m.Commit(c.r.ctx, platforms.State{Key: t.u.id.key.String(), Name: n.Name, Dir: dir, Needed: c.r.needed(t.u)})
	if err != nil {
		return m, fmt.Errorf("commit: %w", err)
	}
	return m, nil
}

// apply runs the step of t in the machine, which is opened on its parent's layer if it
// has to be.
func (c *chain) apply(t *task, d platforms.Driver) error {
	n := t.u.node()
	op := n.Op.(plan.Step)
	return t.tries(c, func() error {
		return c.open(t, d, parent(n))
	}, func(ctx context.Context) error {
		return op.Apply(ctx, c.m, t.env())
	})
}

// open boots a machine on the layer n unless there is one. Where that was not worth
// keeping, the steps that lead to it run again.
func (c *chain) open(t *task, d platforms.Driver, n *plan.Node) error {
	if c.m != nil {
		return nil
	}
	if u := c.r.droppedUnit(n); u != nil {
		return c.again(u, d)
	}
	layers, err := c.r.chainOf(n)
	if err != nil {
		return err
	}
	m, err := d.Boot(c.r.ctx, layers, t.out)
	if err != nil {
		return fmt.Errorf("open machine: %w", err)
	}
	c.m, c.killed, c.err = m, false, nil
	return nil
}

// droppedUnit returns the unit that has made the layer n if that was not kept, or nil.
func (r *run) droppedUnit(n *plan.Node) *unit {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u := r.units[r.sched.ids[n].key]; u != nil && u.dropped {
		return u
	}
	return nil
}

// again runs a step once more whose layer was not kept, as the node that it is: by its
// own timeout and retries, and with a failure of its own.
func (c *chain) again(u *unit, d platforms.Driver) error {
	t := c.r.newTask(u)
	t.again = true
	err := protect(func() error {
		t.start()
		return c.apply(t, d)
	})
	if t.tell(err) == Failed {
		return &againError{u.node()}
	}
	return err
}

// An againError says that a step whose layer was not kept has failed when it ran once
// more, which was told.
type againError struct{ node *plan.Node }

func (e *againError) Error() string { return "needs " + e.node.Name + ", which failed" }

// kill closes the machine under a call that does not heed its context.
func (c *chain) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m != nil && !c.killed {
		c.killed, c.err = true, closeMachine(c.m)
	}
}

// drop closes the machine. What it loses was committed or is not wanted, so a
// failure is only told.
func (c *chain) drop() {
	c.kill()
	if c.m != nil && c.err != nil {
		c.r.warn(nil, "close machine: %v", c.err)
	}
	c.m = nil
}

func closeMachine(m platforms.Machine) (err error) {
	defer catch(&err)
	return m.Close()
}
