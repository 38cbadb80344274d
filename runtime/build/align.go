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

// maxMatch is how large a table for the middles of two chains may be. Longer ones
// are aligned at their ends alone.
const maxMatch = 4 << 20

// match returns the pairs of indices of now and was behind their heads, both ascending,
// that are alike. Both ends are aligned as far as steps have the same names, and what is
// between so that the pairs are most alike together.
func (p *Past) match(now []*plan.Node, was []plan.Key) (pairs [][2]int) {
	same := func(i, j int) bool { return p.likeness(now[i], was[j]) >= likeName }
	first := 0
	for first < min(len(now), len(was)) && same(first, first) {
		first++
		pairs = append(pairs, [2]int{first, first})
	}
	last := 0
	for last < min(len(now), len(was))-first && same(len(now)-1-last, len(was)-1-last) {
		last++
	}
	middle, old := now[first:len(now)-last], was[first:len(was)-last]
	if len(middle)*len(old) > maxMatch {
		middle, old = nil, nil
	}
	for _, pair := range p.mostAlike(middle, old) {
		pairs = append(pairs, [2]int{pair[0] + first + 1, pair[1] + first + 1})
	}
	for ; last > 0; last-- {
		pairs = append(pairs, [2]int{len(now) - last + 1, len(was) - last + 1})
	}
	return pairs
}

// mostAlike returns the pairs of indices of now and was, both ascending, whose likenesses
// have the largest sum.
func (p *Past) mostAlike(now []*plan.Node, was []plan.Key) (pairs [][2]int) {
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
			pairs = append(pairs, [2]int{i, j})
			i, j = i+1, j+1
		case best[i][j] == best[i+1][j]:
			i++
		default:
			j++
		}
	}
	return pairs
}

// likeName is the likeness of nodes of one kind and name.
const likeName = 4

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
		return likeName
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
