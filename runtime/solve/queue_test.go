package solve

import (
	"fmt"
	"strings"
	"testing"

	"bake.build/bake/runtime/plan"
)

// TestQueue takes units in their order, as far as what they claim is there, and tells
// each of the others once what it waits for.
func TestQueue(t *testing.T) {
	machine := Claim{Resource: "machines", Amount: 1, Capacity: 2}
	memory := func(n int64) []Claim {
		return []Claim{machine, {Resource: "memory", Amount: n, Capacity: 4}}
	}
	unitOf := func(id, rest int, claims ...Claim) *unit {
		return &unit{nodes: []*plan.Node{{ID: id}}, rest: rest, claims: claims}
	}
	q, p := &queue{}, &pool{used: map[string]int64{}}
	took := func() string {
		var said []string
		begin := q.take(p, func(u *unit, what string) {
			said = append(said, fmt.Sprintf("%d waits for %s", u.node().ID, what))
		})
		var ids []string
		for _, u := range begin {
			ids = append(ids, fmt.Sprint(u.node().ID))
		}
		return strings.Join(append([]string{strings.Join(ids, " ")}, said...), "; ")
	}
	big, small := unitOf(1, 5, memory(4)...), unitOf(2, 4, memory(1)...)
	for _, u := range []*unit{unitOf(5, 1, memory(1)...), small, big, unitOf(4, 1, memory(1)...), unitOf(3, 9)} {
		q.add(u)
	}
	steps := []struct {
		what string
		do   func()
		want string
	}{
		{"at first", func() {}, "3 1; 5 waits for memory (limit 4); 2 waits for memory (limit 4); 4 waits for memory (limit 4)"},
		{"nothing is free", func() {}, ""},
		{"one of theirs has begun elsewhere", func() { small.taken = true; p.give(big.claims) }, "4 5"},
		{"one more", func() { q.add(unitOf(6, 1, machine)) }, "; 6 waits for machines (limit 2)"},
		{"it is not told again", func() { p.give(small.claims) }, "6"},
	}
	for _, s := range steps {
		s.do()
		if got := took(); got != s.want {
			t.Errorf("%s: %q, want %q", s.what, got, s.want)
		}
	}
}

// TestQueueLooksAtFew has a long queue of equal units: each round looks at those that
// begin and at one that waits.
func TestQueueLooksAtFew(t *testing.T) {
	const units = 20_000
	claims := []Claim{{Resource: "machines", Amount: 1, Capacity: 1}}
	q, p := &queue{}, &pool{used: map[string]int64{}}
	for id := range units {
		q.add(&unit{nodes: []*plan.Node{{ID: id}}, rest: 1, claims: claims})
	}
	told := 0
	for id := range units {
		begin := q.take(p, func(*unit, string) { told++ })
		if len(begin) != 1 || begin[0].node().ID != id {
			t.Fatalf("round %d took %v", id, begin)
		}
		p.give(claims)
	}
	if told != units-1 || len(q.lanes) != 1 {
		t.Errorf("%d of %d were told that they wait, in %d lanes", told, units, len(q.lanes))
	}
}
