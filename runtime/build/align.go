package build

import (
	"slices"
	"strings"

	"bake.build/bake/runtime/plan"
)

// align records which nodes of the last build n and what it depends on were, where n
// was the one of key old. Chains of parents are aligned as lines of text are: a step
// that was added or removed does not shift those beside it.
func (p *Past) align(n *plan.Node, old plan.Key) {
	if _, done := p.places[n]; done || p.Nodes[old] == nil {
		return
	}
	now, was := p.chains(n, old)
	pairs := append([][2]int{{0, 0}}, p.match(now[1:], was[1:])...)
	for i, pair := range pairs {
		node, key := now[pair[0]], was[pair[1]]
		p.places[node] = key
		end := len(was)
		if i+1 < len(pairs) {
			end = pairs[i+1][1]
		}
		p.gone[node] = was[pair[1]+1 : end]
	}
	for _, pair := range pairs {
		node, deps := now[pair[0]], p.Nodes[was[pair[1]]].Deps
		for i := 1; i < len(node.Deps) && i < len(deps); i++ {
			p.align(node.Deps[i], deps[i])
		}
	}
}

// chains returns n and its parents, up to one that has been aligned, and the node of key
// old and its parents, up to what that one was.
func (p *Past) chains(n *plan.Node, old plan.Key) (now []*plan.Node, was []plan.Key) {
	for p.Nodes[old] != nil {
		was = append(was, old)
		deps := p.Nodes[old].Deps
		if len(deps) == 0 {
			break
		}
		old = deps[0]
	}
	for {
		if key, done := p.places[n]; done {
			if i := slices.Index(was, key); i > 0 {
				was = was[:i]
			}
			return now, was
		}
		now = append(now, n)
		if len(n.Deps) == 0 {
			return now, was
		}
		n = n.Deps[0]
	}
}

// match returns the pairs of indices of now and was, both ascending, that are most alike
// together.
func (p *Past) match(now []*plan.Node, was []plan.Key) (pairs [][2]int) {
	best := make([][]int, len(now)+1) // of what is left of both
	best[len(now)] = make([]int, len(was)+1)
	for i := len(now) - 1; i >= 0; i-- {
		best[i] = make([]int, len(was)+1)
		for j := len(was) - 1; j >= 0; j-- {
			best[i][j] = max(best[i+1][j], best[i][j+1])
			if s := p.likeness(now[i], was[j]); s > 0 {
				best[i][j] = max(best[i][j], s+best[i+1][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(now) && j < len(was); {
		s := p.likeness(now[i], was[j])
		switch {
		case s > 0 && best[i][j] == s+best[i+1][j+1]:
			pairs = append(pairs, [2]int{i + 1, j + 1}) // of the chains with their heads
			i, j = i+1, j+1
		case best[i][j] == best[i+1][j]:
			i++
		default:
			j++
		}
	}
	return pairs
}

// likeness says how much n is like the node of key: not at all if it is of another kind,
// or made by another function, as the beginning of its name says.
func (p *Past) likeness(n *plan.Node, key plan.Key) int {
	was := p.Nodes[key]
	switch {
	case n.Key == key:
		return 8
	case was.Kind != n.Op.Kind():
		return 0
	case was.Name == n.Name:
		return 4
	}
	by, _, _ := strings.Cut(n.Name, ": ")
	wasBy, _, ok := strings.Cut(was.Name, ": ")
	if by == wasBy {
		return 2
	}
	if !ok && by == n.Name {
		return 1
	}
	return 0
}
