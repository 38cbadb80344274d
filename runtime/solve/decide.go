package solve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/layers"
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
	Cached    State = "cached"     // the result is up to date
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

	Files []File // of an artifact that is up to date
}

// A Schedule says what is to be done for each node of a plan.
type Schedule struct {
	Plan    *plan.Plan
	Targets []*plan.Node

	ids     map[*plan.Node]identity
	nodes   map[*plan.Node]*Decision
	reached []*plan.Node                 // what is not NotNeeded, in the order of definition
	found   map[plan.Key]platforms.Layer // the layers that there are, of those that were looked for
}

// Of returns the decision on n.
func (s *Schedule) Of(n *plan.Node) Decision {
	if d := s.nodes[n]; d != nil {
		return *d
	}
	return Decision{State: NotNeeded, Key: s.ids[n].key}
}

// Count returns how many nodes have to run, identical ones once, and how many
// of the nodes that are needed are up to date.
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
		asked: map[plan.Key]bool{},
		whole: map[plan.Key]bool{},
		byKey: map[plan.Key]*plan.Node{},
		s: &Schedule{
			Plan:    p,
			Targets: targets,
			ids:     ids,
			nodes:   map[*plan.Node]*Decision{},
			found:   map[plan.Key]platforms.Layer{},
		},
	}
	if err := d.visitAll(targets); err != nil {
		return nil, err
	}
	for len(d.open) > 0 {
		round := d.open
		d.open = nil
		if err := d.look(round); err != nil {
			return nil, err
		}
		for _, n := range round {
			if err := d.judgeLayer(n); err != nil {
				return nil, err
			}
		}
	}
	for _, n := range d.s.reached {
		if dec := d.s.nodes[n]; dec.Same != nil {
			same := dec.Same
			*dec = *d.s.nodes[same]
			dec.Same = same
		}
	}
	d.showBelow()
	return d.s, nil
}

type decider struct {
	ctx   context.Context
	c     *Config
	gone  map[plan.Key]bool
	asked map[plan.Key]bool       // the layers that were looked for
	whole map[plan.Key]bool       // whether a layer is there with all below it
	byKey map[plan.Key]*plan.Node // the node that stands for all with its key
	open  []*plan.Node            // layers that are yet to be looked for, all at once
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
	dec := &Decision{Key: id.key, Same: d.byKey[id.key]}
	d.s.nodes[n] = dec
	d.s.reached = append(d.s.reached, n)
	if dec.Same == nil {
		d.byKey[id.key] = n
		if isLayer(n) && id.fresh == nil {
			d.open = append(d.open, n)
		} else if err := d.judge(n, id, dec); err != nil {
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

// judge sets the state of n, which is no layer unless it always runs, and the reason
// for it, and visits what n needs.
func (d *decider) judge(n *plan.Node, id identity, dec *Decision) error {
	dec.State = ToRun
	switch role := roleOf(n); {
	case id.fresh == n:
		dec.Reason = "always runs"
	case id.fresh != nil:
		dec.Reason = fmt.Sprintf("follows %s, which always runs", id.fresh.Name)
	case role == roleExport:
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
	case role == roleCheck:
		_, err := d.c.Store.GetRecord(passedRecord, id.key.String())
		if err == nil {
			dec.State = Cached
		} else if dec.Reason = "not passed yet"; !errors.Is(err, store.ErrMissing) {
			return &NodeError{Node: n, Err: err}
		}
	}
	if dec.State != ToRun {
		return nil
	}
	return d.visitAll(needs(n))
}

// judgeLayer is judge for a layer that was looked for.
func (d *decider) judgeLayer(n *plan.Node) error {
	dec := d.s.nodes[n]
	switch {
	case d.upToDate(n):
		dec.State = Cached
		return nil
	case d.has(dec.Key):
		dec.Reason = "a layer below it is missing"
	default:
		dec.Reason = d.why(n)
	}
	dec.State = ToRun
	return d.visitAll(needs(n))
}

func (d *decider) why(n *plan.Node) string {
	if d.c.Why != nil {
		if s := d.c.Why(n); s != "" {
			return s
		}
	}
	return "no layer yet"
}

// look asks for the layers and all below them that were not asked for yet, once for
// each platform.
func (d *decider) look(nodes []*plan.Node) error {
	var first []*plan.Node // of each platform
	want := map[string][]layers.Spec{}
	for _, n := range nodes {
		for m := n; m != nil && !d.asked[d.s.ids[m].key]; m = parent(m) {
			if m.Platform == nil {
				return &NodeError{Node: m, Err: errNoPlatform}
			}
			d.asked[d.s.ids[m].key] = true
			id := m.Platform.ID()
			if want[id] == nil {
				first = append(first, m)
			}
			want[id] = append(want[id], d.s.spec(m))
		}
	}
	for _, n := range first {
		found, err := d.c.Layers.Find(d.ctx, n.Platform, want[n.Platform.ID()])
		if err != nil {
			return &NodeError{Node: n, Err: err}
		}
		maps.Copy(d.s.found, found)
	}
	return nil
}

// spec describes the layer n to who keeps it.
func (s *Schedule) spec(n *plan.Node) layers.Spec {
	id := s.ids[n]
	l := layers.Spec{Key: id.key, Kind: n.Op.Kind(), Name: n.Name, Platform: n.Platform, Preimage: id.preimage}
	if up := parent(n); up != nil {
		l.Parent = s.ids[up].key
	} else if op, ok := n.Op.(plan.Source); ok {
		l.Origin = op.Origin().Kind
	}
	return l
}

func (d *decider) has(k plan.Key) bool {
	_, ok := d.s.found[k]
	return ok && !d.gone[k]
}

// upToDate reports whether there is the layer n with all below it. A remote layer holds
// those.
func (d *decider) upToDate(n *plan.Node) bool {
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
		if ok = d.has(k); !ok || d.s.found[k].Remote() {
			break
		}
	}
	for _, n := range way {
		d.whole[d.s.ids[n].key] = ok
	}
	return ok
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
