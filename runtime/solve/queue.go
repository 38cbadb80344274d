package solve

import (
	"cmp"
	"container/heap"
	"fmt"
)

// A queue holds the units that could run. Those that claim the same are in one lane:
// where the first of them has to wait, all have to, so nobody looks at the others.
type queue struct {
	lanes  []*lane
	byName map[string]*lane
}

// A lane holds units in the order in which they begin.
type lane struct {
	units  inOrder
	untold []*unit // those of them that nobody has told that they wait
	short  string  // what they wait for; "" while the first may begin
}

func (q *queue) add(u *unit) {
	if q.byName == nil {
		q.byName = map[string]*lane{}
	}
	name := fmt.Sprint(u.claims)
	l := q.byName[name]
	if l == nil {
		l = &lane{}
		q.byName[name], q.lanes = l, append(q.lanes, l)
	}
	heap.Push(&l.units, u)
	l.untold = append(l.untold, u)
}

// take removes and returns the units that can begin, of which it takes the claims from
// the pool, and calls wait once for each of the others with what it waits for.
func (q *queue) take(p *pool, wait func(u *unit, what string)) (begin []*unit) {
	for _, l := range q.lanes {
		l.short = ""
	}
	for l := q.first(); l != nil; l = q.first() {
		u := l.units[0]
		if u.taken { // in the machine of another
			heap.Pop(&l.units)
			continue
		}
		if claim := p.take(u.claims); claim != nil {
			l.short = claim.String()
			continue
		}
		heap.Pop(&l.units)
		u.taken = true
		begin = append(begin, u)
	}
	for _, l := range q.lanes {
		if l.short == "" {
			l.untold = nil // all have begun
		}
		for _, u := range l.untold {
			if !u.taken {
				wait(u, l.short)
			}
		}
		l.untold = l.untold[:0]
	}
	return begin
}

// first returns the lane of the unit that comes next, of those that need not wait.
func (q *queue) first() (next *lane) {
	for _, l := range q.lanes {
		if l.short == "" && len(l.units) > 0 && (next == nil || before(l.units[0], next.units[0]) < 0) {
			next = l
		}
	}
	return next
}

// before orders units: the longest way first, then as they were defined.
func before(a, b *unit) int { return cmp.Or(b.rest-a.rest, a.node().ID-b.node().ID) }

// inOrder is a heap of units; see container/heap.
type inOrder []*unit

func (h inOrder) Len() int           { return len(h) }
func (h inOrder) Less(i, j int) bool { return before(h[i], h[j]) < 0 }
func (h inOrder) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *inOrder) Push(u any) { *h = append(*h, u.(*unit)) }

// Pop implements heap.Interface.
func (h *inOrder) Pop() any {
	last := len(*h) - 1
	u := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return u
}
