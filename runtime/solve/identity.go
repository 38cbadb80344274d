package solve

import (
	"crypto/rand"
	"encoding/hex"
	"slices"

	"bake.build/bake/runtime/plan"
)

// An identity is what a node's result is kept under in one run.
type identity struct {
	key      plan.Key
	preimage plan.Preimage
	fresh    *plan.Node // the step marked always that it follows from, or nil
}

// identify gives every node of p its identity: its key, or a fresh one when the
// node or something that it depends on always runs.
func identify(p *plan.Plan) map[*plan.Node]identity {
	ids := make(map[*plan.Node]identity, len(p.Nodes))
	run := ""
	for _, n := range p.Nodes {
		id := identity{key: n.Key, preimage: n.Preimage}
		if n.Run.Always {
			id.fresh = n
		}
		for _, d := range n.Deps {
			if id.fresh == nil {
				id.fresh = ids[d].fresh
			}
		}
		if id.fresh != nil {
			if run == "" {
				run = nonce()
			}
			id.preimage = append(slices.Clone(n.Preimage), plan.Field{Name: "run", Value: run})
			id.key = id.preimage.Key()
		}
		ids[n] = id
	}
	return ids
}

func nonce() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // documented never to happen
	}
	return hex.EncodeToString(b[:])
}
