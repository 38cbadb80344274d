package plan

import "slices"

// Gate makes every node that builds on a tested node wait for its tests: it
// sets After of each node to the checks of all nodes that the node depends on,
// near or far, so that a step taken from the store opens no way around a test.
// Checks do not wait for other checks. A publication, which nobody takes back,
// waits for the checks of its layer's other artifacts as well.
func (p *Plan) Gate() {
	tests := map[*Node][]*Node{}
	for _, n := range p.Nodes {
		if _, ok := n.Op.(Check); ok && len(n.Deps) > 0 {
			tests[n.Deps[0]] = append(tests[n.Deps[0]], n)
		}
	}
	if len(tests) == 0 {
		return
	}
	of := map[*Node][]*Node{} // the checks of the artifacts of a layer
	for _, n := range p.Nodes {
		if _, ok := n.Op.(Step); !ok && len(n.Deps) > 0 {
			of[n.Deps[0]] = append(of[n.Deps[0]], tests[n]...)
		}
	}
	// gates[n] are the checks of n and of what it depends on. Equal lists share
	// their memory.
	gates := make(map[*Node][]*Node, len(p.Nodes))
	for _, n := range p.Nodes {
		after := union(gates, n.Deps)
		if _, ok := n.Op.(Publication); ok {
			after = slices.Concat(after, of[n.Deps[0]])
		}
		if _, ok := n.Op.(Check); !ok {
			n.After = after
		}
		gates[n] = after
		if own := tests[n]; len(own) > 0 {
			gates[n] = append(after[:len(after):len(after)], own...)
		}
	}
}

func union(gates map[*Node][]*Node, deps []*Node) []*Node {
	if len(deps) == 1 {
		return gates[deps[0]]
	}
	var all []*Node
	seen := map[*Node]bool{}
	for _, d := range deps {
		for _, g := range gates[d] {
			if !seen[g] {
				seen[g] = true
				all = append(all, g)
			}
		}
	}
	return all
}
