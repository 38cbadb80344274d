package plan

import (
	"context"
	"fmt"
	"testing"

	"bake.build/bake/platforms"
)

type stepOp struct{}

func (*stepOp) Kind() string { return "step" }

type checkOp struct{}

func (*checkOp) Kind() string                                              { return "check" }
func (*checkOp) Check(_ context.Context, _ platforms.Machine, _ Env) error { return nil }

// TestGate draws plans as lists of nodes: each is "step" or "check" with the
// numbers of its dependencies. want are the numbers of the nodes that each
// waits for.
func TestGate(t *testing.T) {
	type node struct {
		check bool
		deps  []int
		want  []int
	}
	for name, nodes := range map[string][]node{
		"no tests": {{}, {deps: []int{0}}},
		"what builds on the tested layer waits": {
			{}, {deps: []int{0}, want: []int{2}}, {check: true, deps: []int{0}}, {deps: []int{1}, want: []int{2}}, {want: nil},
		},
		"a test after what it gates": {
			{}, {deps: []int{0}, want: []int{2}}, {check: true, deps: []int{0}},
		},
		"tests do not wait for tests": {
			{}, {check: true, deps: []int{0}}, {deps: []int{0}, want: []int{1}}, {check: true, deps: []int{2}}, {deps: []int{2}, want: []int{1, 3}},
		},
		"several tests and parents": {
			{}, {}, {check: true, deps: []int{0}}, {check: true, deps: []int{1}}, {check: true, deps: []int{1}},
			{deps: []int{0, 1}, want: []int{2, 3, 4}}, {deps: []int{5, 1, 0}, want: []int{2, 3, 4}},
		},
		"siblings do not share": {
			{}, {deps: []int{0}, want: []int{3}}, {deps: []int{0}, want: []int{3}}, {check: true, deps: []int{0}},
			{check: true, deps: []int{1}}, {check: true, deps: []int{2}}, {deps: []int{1}, want: []int{3, 4}}, {deps: []int{2}, want: []int{3, 5}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b Builder
			for _, n := range nodes {
				added := &Node{Op: &stepOp{}}
				if n.check {
					added.Op = &checkOp{}
				}
				for _, d := range n.deps {
					added.Deps = append(added.Deps, b.nodes[d])
				}
				b.Add(added)
			}
			p := b.Plan()
			p.Gate()
			for i, n := range p.Nodes {
				var got []int
				for _, a := range n.After {
					got = append(got, a.ID)
				}
				if fmt.Sprint(got) != fmt.Sprint(nodes[i].want) {
					t.Errorf("node %d waits for %v, want %v", i, got, nodes[i].want)
				}
			}
		})
	}
}

type publishOp struct{}

func (*publishOp) Kind() string { return "publish" }
func (*publishOp) Publishes()   {}

// TestGateOfPublications tests an artifact: another artifact of the layer does not
// wait for that, and a publication of the layer does.
func TestGateOfPublications(t *testing.T) {
	var b Builder
	layer := b.Add(&Node{Op: &stepOp{}})
	artifact := b.Add(&Node{Op: &stepOp{}, Deps: []*Node{layer}})
	other := b.Add(&Node{Op: &stepOp{}, Deps: []*Node{layer}})
	published := b.Add(&Node{Op: &publishOp{}, Deps: []*Node{layer}})
	check := b.Add(&Node{Op: &checkOp{}, Deps: []*Node{artifact}})
	b.Plan().Gate()
	if len(other.After) > 0 {
		t.Errorf("another artifact waits for %d tests", len(other.After))
	}
	if len(published.After) != 1 || published.After[0] != check {
		t.Errorf("the publication waits for %v", published.After)
	}
}
