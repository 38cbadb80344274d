package solve

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store"
)

// passedRecord is the kind of the records of tests that passed, by identity.
const passedRecord = "test"

// A State says what is to be done for a node, or what became of it.
type State string

// The states of nodes. Decide gives Cached, ToRun and NotNeeded only.
const (
	NotNeeded State = "not needed" // nothing that runs uses it
	Cached    State = "cached"     // the result stands
	ToRun     State = "run"        // it has to run
	Done      State = "done"       // it ran and succeeded
	Failed    State = "failed"
	Canceled  State = "canceled" // it was stopped before its end
	Skipped   State = "skipped"  // it never began
)

// A Decision is what is to be done for one node.
type Decision struct {
	State  State
	Reason string   // why it has to run
	Key    plan.Key // the identity of the result in this run

	// Same is the identical node that runs in place of this one, or nil.
	Same *plan.Node

	Files []File // of an artifact that stands
}

// A Schedule says what is to be done for each node of a plan.
type Schedule struct {
	Plan    *plan.Plan
	Targets []*plan.Node

	ids     map[*plan.Node]identity
	nodes   map[*plan.Node]*Decision
	reached []*plan.Node        // what is not NotNeeded, in the order of definition
	kept    map[plan.Key]string // references of the layers that platforms keep
}

// Of returns the decision on n.
func (s *Schedule) Of(n *plan.Node) Decision {
	if d := s.nodes[n]; d != nil {
		return *d
	}
	return Decision{State: NotNeeded, Key: s.ids[n].key}
}

// Count returns how many nodes have to run, identical ones once, and how many
// of the nodes that are needed stand.
func (s *Schedule) Count() (run, cached int) {
	for _, n := range s.reached {
		switch d := s.nodes[n]; {
		case d.Same != nil:
		case d.State == ToRun:
			run++
		case d.State == Cached:
			cached++
		}
	}
	return run, cached
}

// Decide says what is to be done for targets, nodes of the sealed plan p. It
// changes nothing.
func Decide(ctx context.Context, c Config, p *plan.Plan, targets []*plan.Node) (*Schedule, error) {
	return decide(ctx, &c, p, targets, identify(p), nil)
}

// decide is Decide with the identities that hold in this run, and without the
// layers in gone, which are known to be damaged.
func decide(ctx context.Context, c *Config, p *plan.Plan, targets []*plan.Node, ids map[*plan.Node]identity, gone map[plan.Key]bool) (*Schedule, error) {
	d := &decider{
		ctx:   ctx,
		c:     c,
		gone:  gone,
		whole: map[plan.Key]bool{},
		byKey: map[plan.Key]*plan.Node{},
		s: &Schedule{
			Plan:    p,
			Targets: targets,
			ids:     ids,
			nodes:   map[*plan.Node]*Decision{},
			kept:    map[plan.Key]string{},
		},
		asked: map[string]bool{},
	}
	for _, n := range targets {
		if err := d.visit(n); err != nil {
			return nil, err
		}
	}
	d.showBelow()
	return d.s, nil
}

type decider struct {
	ctx   context.Context
	c     *Config
	gone  map[plan.Key]bool
	whole map[plan.Key]bool       // whether a layer is there with all below it
	byKey map[plan.Key]*plan.Node // the node that stands for all with its key
	asked map[string]bool         // the platforms that told which layers they keep
	s     *Schedule
}

func (d *decider) visit(n *plan.Node) error {
	if d.s.nodes[n] != nil {
		return nil
	}
	if err := d.ctx.Err(); err != nil {
		return err
	}
	id, ok := d.s.ids[n]
	if !ok {
		return fmt.Errorf("decide %s: not a node of the plan", n.Name)
	}
	dec := &Decision{Key: id.key}
	if first, ok := d.byKey[id.key]; ok {
		*dec = *d.s.nodes[first]
		dec.Same = first
	} else if err := d.judge(n, id, dec); err != nil {
		return err
	} else {
		d.byKey[id.key] = n
	}
	d.s.nodes[n] = dec
	d.s.reached = append(d.s.reached, n)
	if dec.State == ToRun && dec.Same == nil {
		if err := d.visitAll(needs(n)); err != nil {
			return err
		}
	}
	return d.visitAll(n.After)
}

func (d *decider) visitAll(nodes []*plan.Node) error {
	for _, n := range nodes {
		if err := d.visit(n); err != nil {
			return err
		}
	}
	return nil
}

// judge sets the state of n and the reason for it.
func (d *decider) judge(n *plan.Node, id identity, dec *Decision) error {
	dec.State = ToRun
	switch {
	case id.fresh == n:
		dec.Reason = "always runs"
		return nil
	case id.fresh != nil:
		dec.Reason = fmt.Sprintf("follows %s, which always runs", id.fresh.Name)
		return nil
	}
	switch roleOf(n) {
	case roleExport:
		if d.c.Exports == nil {
			return fmt.Errorf("decide %s: %s is no source, step or test", n.Name, n.Op.Kind())
		}
		files, why, err := d.c.Exports.Current(d.ctx, n, id.key)
		if err != nil {
			return &NodeError{Node: n, Err: err}
		}
		if dec.Reason = why; why == "" {
			dec.State, dec.Files = Cached, files
		}
	case roleCheck:
		_, err := d.c.Store.GetRecord(passedRecord, id.key.String())
		if err == nil {
			dec.State = Cached
		} else if dec.Reason = "not passed yet"; !errors.Is(err, store.ErrMissing) {
			return &NodeError{Node: n, Err: err}
		}
	default:
		stands, err := d.stands(n)
		switch {
		case err != nil:
			return &NodeError{Node: n, Err: err}
		case stands:
			dec.State = Cached
		case d.has(id.key):
			dec.Reason = "a layer below it is missing"
		default:
			dec.Reason = d.why(n)
		}
	}
	return nil
}

func (d *decider) why(n *plan.Node) string {
	if d.c.Why != nil {
		if s := d.c.Why(n); s != "" {
			return s
		}
	}
	return "no layer yet"
}

func (d *decider) has(k plan.Key) bool { return !d.gone[k] && d.c.Store.Has(k) }

// stands reports whether there is the layer n: on its platform where that keeps
// its layers, and otherwise in the store with all that are below it.
func (d *decider) stands(n *plan.Node) (bool, error) {
	keeper, err := keeperOf(d.c.Drivers, n)
	if err != nil {
		return false, err
	}
	if keeper != nil {
		return d.keeps(keeper, n)
	}
	var way []*plan.Node
	ok := true
	for ; n != nil; n = parent(n) {
		k := d.s.ids[n].key
		known, seen := d.whole[k]
		if seen {
			ok = known
			break
		}
		way = append(way, n)
		if !d.has(k) {
			ok = false
			break
		}
	}
	for _, n := range way {
		d.whole[d.s.ids[n].key] = ok
	}
	return ok, nil
}

// keeperOf returns the driver of the layer n if it keeps that on its platform, or
// nil.
func keeperOf(drivers func(*plan.Platform) (platforms.Driver, error), n *plan.Node) (platforms.Keeper, error) {
	if roleOf(n) != roleStep || n.Platform == nil {
		return nil, nil
	}
	d, err := drivers(n.Platform)
	if err != nil {
		return nil, err
	}
	k, _ := d.(platforms.Keeper)
	return k, nil
}

// keeps reports whether the platform keeps the layer n. It is asked once for all
// layers of the plan.
func (d *decider) keeps(keeper platforms.Keeper, n *plan.Node) (bool, error) {
	if id := n.Platform.ID(); !d.asked[id] {
		d.asked[id] = true
		var keys []string
		for _, m := range d.s.Plan.Nodes {
			if roleOf(m) == roleStep && m.Platform != nil && m.Platform.ID() == id && d.s.ids[m].fresh == nil {
				keys = append(keys, d.s.ids[m].key.String())
			}
		}
		refs, err := keeper.Kept(d.ctx, keys)
		if err != nil {
			return false, fmt.Errorf("look for layers on %s: %w", n.Platform.Name, err)
		}
		for text, ref := range refs {
			k, err := plan.ParseKey(text)
			if err != nil {
				return false, err
			}
			d.s.kept[k] = ref
		}
	}
	return d.s.kept[d.s.ids[n].key] != "", nil
}

// parent returns the layer that the layer n was made from, or nil for a source.
func parent(n *plan.Node) *plan.Node {
	if roleOf(n) != roleStep || len(n.Deps) == 0 {
		return nil
	}
	return n.Deps[0]
}

// showBelow marks the layers below the cached ones as cached.
func (d *decider) showBelow() {
	for _, n := range d.s.reached {
		if !isLayer(n) || d.s.nodes[n].State != Cached {
			continue
		}
		for m := parent(n); m != nil && d.s.nodes[m] == nil; m = parent(m) {
			k := d.s.ids[m].key
			d.s.nodes[m] = &Decision{State: Cached, Key: k}
			if first := d.byKey[k]; first != nil {
				d.s.nodes[m].Same = first
			} else {
				d.byKey[k] = m
			}
			d.s.reached = append(d.s.reached, m)
		}
	}
	slices.SortFunc(d.s.reached, func(a, b *plan.Node) int { return a.ID - b.ID })
}
