package solve

import (
	"errors"

	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/plan"
)

// An underTest is an artifact with tests that have to run.
type underTest struct {
	node   *plan.Node
	left   int  // tests that have not ended well
	failed bool // one of them failed
}

// linkTests finds the artifacts that have tests to run.
func (r *run) linkTests() {
	r.tests = map[plan.Key]*underTest{}
	for _, u := range r.order {
		n := testedBy(u.node())
		if u.role != roleCheck || n == nil {
			continue
		}
		key := r.sched.ids[n].key
		if r.tests[key] == nil {
			r.tests[key] = &underTest{node: n}
		}
		r.tests[key].left++
	}
}

// testedBy returns the artifact that n tests, or nil.
func testedBy(n *plan.Node) *plan.Node {
	if _, ok := n.Op.(plan.Check); !ok || len(n.Deps) == 0 || isLayer(n.Deps[0]) {
		return nil
	}
	return n.Deps[0]
}

// underTest returns the state of the tests of an artifact, or nil where none has
// to run.
func (r *run) underTest(key plan.Key) *underTest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tests[key]
}

// tested takes note of the end of the test u, before anything that waits for it
// begins. An artifact whose last test has passed is settled.
func (r *run) tested(u *unit) *NodeError {
	n := testedBy(u.node())
	if n == nil {
		return nil
	}
	key := r.sched.ids[n].key
	r.mu.Lock()
	t := r.tests[key]
	switch u.end {
	case Done:
		t.left--
	case Failed:
		t.failed = true
	}
	passed := t.left == 0
	r.mu.Unlock()
	if !passed {
		return nil
	}
	return r.settle(t.node, key, true)
}

// settle tells what writes artifacts how the tests of one ended.
func (r *run) settle(n *plan.Node, key plan.Key, passed bool) *NodeError {
	s, ok := r.c.Exports.(Settler)
	if !ok {
		return nil
	}
	files, err := s.Settle(r.parent, n, key, passed)
	if err != nil {
		return &NodeError{Node: n, Err: err}
	}
	r.mu.Lock()
	if u := r.units[key]; u != nil {
		u.files = files
	}
	r.sched.nodes[n].Files = files
	r.mu.Unlock()
	for _, e := range r.artifacts(n, files) {
		if passed {
			r.c.Events.Send(e)
		}
	}
	if !passed && len(files) > 0 {
		r.c.Events.Send(event.Event{Type: event.Warning, Node: r.node(n), Text: "its test failed: it is in " + files[0].Path})
	}
	return nil
}

// settleFailed settles the artifacts of which a test has failed. It is called when
// nothing runs any more.
func (r *run) settleFailed() error {
	var errs []error
	for _, u := range r.order {
		n := testedBy(u.node())
		if n == nil {
			continue
		}
		key := r.sched.ids[n].key
		if t := r.tests[key]; t != nil && t.failed {
			t.failed = false // once
			if err := r.settle(n, key, false); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
