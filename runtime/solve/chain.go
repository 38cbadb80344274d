package solve

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	waited := false
	waiting := func() {
		waited = true
		t.send(event.Event{Type: event.Waiting, Text: "another build that makes this layer"})
	}
	keeper, err := keeperOf(c.r.c.Drivers, n)
	if err != nil {
		return err
	}
	var failure error
	e, filled, err := c.r.c.Store.Put(c.r.ctx, meta, waiting, func(dir string) (ref string, err error) {
		defer func() { failure = err }()
		defer catch(&err)
		if keeper != nil {
			return "", c.saved(t, d, keeper, waited)
		}
		t.start()
		if op, ok := n.Op.(plan.Source); ok {
			return t.importTo(op, d, dir)
		}
		return c.step(t, d, dir)
	})
	if errors.Is(failure, errSaved) {
		return nil
	}
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

// errSaved ends the filling of a layer that is not to be in the store.
var errSaved = errors.New("the platform keeps the layer")

// saved runs the step of t and has its platform keep the layer. Where another build
// of this host was waited for, that may have made it. The error is never nil.
func (c *chain) saved(t *task, d platforms.Driver, keeper platforms.Keeper, waited bool) error {
	n, key := t.u.node(), t.u.id.key.String()
	if waited {
		refs, err := keeper.Kept(c.r.ctx, []string{key})
		if err != nil {
			return err
		}
		if ref := refs[key]; ref != "" {
			c.drop() // its state is not that of the layer
			t.elsewhere = true
			c.r.remember(n, ref)
			return errSaved
		}
	}
	t.start()
	ref, err := c.step(t, d, "")
	if err != nil {
		c.drop()
		return err
	}
	c.r.remember(n, ref)
	return errSaved
}

// remember notes where the platform keeps the layer n. It forgets it for "".
func (r *run) remember(n *plan.Node, ref string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.sched.ids[n].key
	delete(r.entries, k)
	if ref != "" {
		r.entries[k] = &store.Entry{Meta: store.Meta{Key: k, Kind: n.Op.Kind(), Name: n.Name, Platform: n.Platform.Name, Ref: ref}}
	}
}

// needed reports whether something else than the next step in the machine needs the
// layer u.
func (r *run) needed(u *unit) bool { return len(u.dependents) != 1 || !r.goesOn(u) }

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
	if s, ok := c.m.(platforms.Saver); ok {
		ref, err = s.Save(c.r.ctx, platforms.State{Key: t.u.id.key.String(), Name: n.Name, Needed: c.r.needed(t.u)})
	} else {
		ref, err = c.m.Commit(c.r.ctx, dir)
	}
	if err != nil {
		return "", fmt.Errorf("commit: %w", err)
	}
	return ref, nil
}

// open boots a machine on the layer n unless there is one. Steps whose layers were
// not worth keeping are run again.
func (c *chain) open(t *task, d platforms.Driver, n *plan.Node) error {
	if c.m != nil {
		return nil
	}
	var again []*plan.Node
	for ; ; n = parent(n) {
		keeper, err := keeperOf(c.r.c.Drivers, n)
		if err != nil {
			return err
		}
		c.r.mu.Lock()
		e := c.r.entries[c.r.sched.ids[n].key]
		c.r.mu.Unlock()
		if keeper == nil || e != nil {
			break
		}
		again = append(again, n)
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
	for _, n := range slices.Backward(again) {
		if err := n.Op.(plan.Step).Apply(c.r.ctx, m, t.env()); err != nil {
			c.drop()
			return fmt.Errorf("run %s again: %w", n.Name, err)
		}
	}
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
