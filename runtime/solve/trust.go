package solve

import (
	"encoding/json"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// trust names the steps with which n shares its caches: those of the project
// whose chains begin on the same origin, by its pin, which names the mirror too.
// An origin without a pin is trusted by itself alone.
func (r *run) trust(n *plan.Node) string {
	first := n
	for len(first.Deps) > 0 {
		first = first.Deps[0]
	}
	t := struct {
		Project string
		Pin     *platforms.Pin
		Key     string
	}{Project: r.c.Project, Pin: first.Pin}
	if first.Pin == nil {
		t.Key = r.sched.ids[first].key.String()
	}
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // strings can always be written
	}
	return string(b)
}
