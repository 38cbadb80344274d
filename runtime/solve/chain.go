package solve

import (
	"context"
	"fmt"
	"sync"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store"
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
	d, p, err := c.r.driver(n)
	if err != nil {
		return err
	}
	meta := c.r.meta(t.u, p)
	waiting := func() {
		t.send(event.Event{Type: event.Waiting, Text: "another build that makes this layer"})
	}
	var failure error
	e, filled, err := c.r.c.Store.Put(c.r.ctx, meta, waiting, func(dir string) (ref string, err error) {
		t.start()
		defer func() { failure = err }()
		defer catch(&err)
		if op, ok := n.Op.(plan.Source); ok {
			return t.importTo(op, d, dir)
		}
		return c.step(t, d, dir)
	})
	if failure != nil {
		err = failure // without what the store adds to it
	} else if err != nil {
		err = fmt.Errorf("keep layer: %w", err)
	}
	if err != nil || !filled {
		c.drop() // its state is not that of the layer
	}
	if err != nil {
		return err
	}
	t.elsewhere = !filled
	c.r.mu.Lock()
	c.r.entries[t.u.id.key] = e
	c.r.mu.Unlock()
	return nil
}

func (r *run) meta(u *unit, p *plan.Platform) store.Meta {
	n := u.node()
	m := store.Meta{Key: u.id.key, Kind: n.Op.Kind(), Name: n.Name, Platform: p.Name, Preimage: u.id.preimage}
	if up := parent(n); up != nil {
		m.Parent = r.sched.ids[up].key.String()
	}
	return m
}

// step runs the step of t in the machine and commits it to dir.
func (c *chain) step(t *task, d platforms.Driver, dir string) (ref string, err error) {
	n := t.u.node()
	op := n.Op.(plan.Step)
	err = t.tries(c, func() error {
		return c.open(t, d, parent(n))
	}, func(ctx context.Context) error {
		return op.Apply(ctx, c.m, t.env())
	})
	if err != nil {
		return "", err
	}
	if ref, err = c.m.Commit(c.r.ctx, dir); err != nil {
		return "", fmt.Errorf("commit: %w", err)
	}
	return ref, nil
}

// open boots a machine on the layer n unless there is one.
func (c *chain) open(t *task, d platforms.Driver, n *plan.Node) error {
	if c.m != nil {
		return nil
	}
	layers, err := c.r.layers(n)
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
