package solve

import (
	"slices"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/plan"
)

// roleUpToDate is the role of a unit whose result is up to date and that only waits for
// its gates.
const roleUpToDate role = -1

// A unit is what has to run: a node and all that are identical to it. Its
// fields down to claims do not change after link; those of the second part belong
// to the holder of run.mu.
type unit struct {
	nodes []*plan.Node // the one that runs first
	id    identity
	role  role
	why   string // it runs

	dependents []*unit // what waits for it
	rest       int     // units on the longest way from here, itself included
	claims     []Claim // of a machine that opens with it
	uses       []*unit // of Node.Uses

	waits   int   // units that it waits for
	state   State // ToRun until it ended
	files   []File
	taken   bool // it runs or ran
	dropped bool // it made a layer that was not worth keeping
	users   int  // units that will use its result, of a plan.Intermediate

	// These belong to the goroutine that runs the unit until finish.
	end       State
	elsewhere bool // another process has made the layer
}

func (u *unit) node() *plan.Node { return u.nodes[0] }

// link makes the units and what they wait for.
func (r *run) link() error {
	r.nameTargets()
	for _, n := range r.sched.reached {
		d := r.sched.nodes[n]
		if d.State == Cached && !r.gated(n) {
			continue
		}
		u := r.units[d.Key]
		if u == nil {
			u = &unit{id: r.sched.ids[n], role: roleOf(n), why: d.Reason, state: ToRun, files: d.Files}
			if d.State == Cached {
				u.role = roleUpToDate
			}
			r.units[d.Key] = u
			r.order = append(r.order, u)
		}
		u.nodes = append(u.nodes, n)
		if d.Same == nil {
			u.nodes[0], u.nodes[len(u.nodes)-1] = n, u.nodes[0]
		}
	}
	for _, u := range r.order {
		if err := r.linkUnit(u); err != nil {
			return err
		}
	}
	r.linkTests()
	r.rank()
	for _, u := range r.order {
		if u.waits == 0 {
			r.ready.add(u)
		}
	}
	return nil
}

// gated reports whether n waits for a gate that has to run.
func (r *run) gated(n *plan.Node) bool {
	return slices.ContainsFunc(n.After, func(g *plan.Node) bool {
		d := r.sched.nodes[g]
		return d != nil && (d.State == ToRun || r.units[d.Key] != nil)
	})
}

func (r *run) linkUnit(u *unit) error {
	known := map[*unit]bool{}
	for _, n := range u.nodes {
		for _, d := range append(needs(n), n.After...) {
			if d := r.units[r.sched.ids[d].key]; d != nil && d != u && !known[d] {
				known[d] = true
				d.dependents = append(d.dependents, u)
				u.waits++
			}
		}
	}
	if u.role == roleUpToDate {
		return nil
	}
	for _, n := range u.node().Uses {
		if d := r.units[r.sched.ids[n].key]; d != nil {
			d.users++
			u.uses = append(u.uses, d)
		}
	}
	var err error
	u.claims, err = r.claimsOf(u)
	return err
}

// claimsOf returns what u takes while it runs, or while the machine is open
// that opens with it.
func (r *run) claimsOf(u *unit) ([]Claim, error) {
	n := u.node()
	var claims []Claim
	if u.role == roleExport && !fromMachine(n) {
		claims = append(claims, Claim{Resource: "exports", Amount: 1, Capacity: int64(r.c.maxExports())})
	} else {
		d, p, err := r.driver(n)
		if err != nil {
			return nil, &NodeError{Node: n, Err: err}
		}
		if s, ok := d.(platforms.Sizer); !ok || s.MachineSize() != (platforms.Resources{}) {
			claims = append(claims, Claim{Resource: "machines", Amount: 1, Capacity: int64(r.c.jobs())})
		}
		if l, ok := d.(platforms.Limiter); ok && l.MaxMachines() > 0 {
			claims = append(claims, Claim{Resource: "machines of " + p.ID(), Amount: 1, Capacity: int64(l.MaxMachines()), shown: "machines of " + p.Name})
		}
	}
	if r.c.Claims != nil {
		claims = append(claims, r.c.Claims(n)...)
	}
	return claims, nil
}

// rank computes the longest way from each unit. What waits for a unit comes
// after it in the plan, save where gates say otherwise; a wrong rank there costs
// order only.
func (r *run) rank() {
	for _, u := range slices.Backward(r.order) {
		u.rest = 1
		for _, d := range u.dependents {
			u.rest = max(u.rest, d.rest+1)
		}
	}
}

// nameTargets finds for each node the one target that it is built for.
func (r *run) nameTargets() {
	r.names = map[*plan.Node]string{}
	seen := map[*plan.Node]bool{}
	var mark func(n *plan.Node, name string)
	mark = func(n *plan.Node, name string) {
		if r.sched.nodes[n] == nil || (seen[n] && r.names[n] == name) || (seen[n] && r.names[n] == "") {
			return
		}
		if seen[n] {
			name = "" // of several targets
		}
		seen[n], r.names[n] = true, name
		for _, d := range needs(n) {
			mark(d, name)
		}
	}
	for _, n := range r.sched.Targets {
		if !isLayer(n) {
			mark(n, n.Name)
		}
	}
}

// sendAll sends e to the node that u stands for, and what follows from it to the
// identical ones.
func (r *run) sendAll(u *unit, e event.Event) {
	for i, n := range u.nodes {
		if e.Node = r.node(n); i > 0 {
			switch e.Type {
			case event.Done:
				e = event.Event{Type: event.Cached, Node: e.Node, Text: "same as " + u.node().Name}
			case event.Failed, event.Canceled:
				e = event.Event{Type: event.Skipped, Node: e.Node, Text: "same as " + u.node().Name + ", which " + string(e.Type)}
			}
		}
		r.c.Events.Send(e)
	}
}
