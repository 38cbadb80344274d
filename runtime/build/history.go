package build

import (
	"encoding/json"
	"errors"
	"fmt"

	"bake.build/bake/builtins"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
	"bake.build/bake/runtime/store"
)

// recordBuild is the kind of the store's records of last builds.
const recordBuild = "build"

// A Past is what is kept of the last build of a definition, so that the
// next one can say what changed.
type Past struct {
	Targets map[string]plan.Key    `json:"targets"`
	Nodes   map[plan.Key]*PastNode `json:"nodes"`

	definition *builtins.Definition      // as it is now
	places     map[*plan.Node]plan.Key   // what each of its nodes was; nil before it is asked for
	gone       map[*plan.Node][]plan.Key // the parents that it had and that are no more
}

func newPast(d *builtins.Definition) *Past {
	return &Past{Targets: map[string]plan.Key{}, Nodes: map[plan.Key]*PastNode{}, definition: d}
}

// A PastNode is one node of a Past.
type PastNode struct {
	Name     string        `json:"name"`
	Kind     string        `json:"kind"`
	Pos      string        `json:"pos"`
	Preimage plan.Preimage `json:"preimage"`
	Deps     []plan.Key    `json:"deps,omitempty"`
}

// Past returns the record of the last build of the definition; it is
// empty when there was none.
func (b *Build) Past() (*Past, error) {
	p := newPast(b.Definition)
	data, err := b.Store.GetRecord(recordBuild, b.Project.Definition)
	if errors.Is(err, store.ErrMissing) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of the last build: %w", err)
	}
	if err := json.Unmarshal(data, p); err != nil {
		// Another version of bake wrote it: what it knew is lost, no more.
		return newPast(b.Definition), nil
	}
	return p, nil
}

// remember records the build, unless nothing ran and it is the one recorded.
func (b *Build) remember(targets []builtins.Target, result *solve.Result) error {
	past, err := b.Past()
	if err != nil {
		return err
	}
	changed := false
	now := &Past{Targets: past.Targets, Nodes: map[plan.Key]*PastNode{}}
	for _, t := range targets {
		changed = changed || past.Targets[t.Name] != t.Node.Key
		now.Targets[t.Name] = t.Node.Key
	}
	if !changed && result.Ran+result.Failed == 0 {
		return nil
	}
	defined := make(map[plan.Key]*plan.Node)
	for _, n := range b.Definition.Plan.Nodes {
		defined[n.Key] = n
	}
	for _, key := range now.Targets {
		now.keep(key, defined, past)
	}
	data, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return b.Store.PutRecord(recordBuild, b.Project.Definition, data)
}

// keep adds the node of key and what it depends on, from the plan or else from
// an earlier record.
func (p *Past) keep(key plan.Key, defined map[plan.Key]*plan.Node, past *Past) {
	if p.Nodes[key] != nil {
		return
	}
	node := past.Nodes[key]
	if n := defined[key]; n != nil {
		node = &PastNode{Name: n.Name, Kind: n.Op.Kind(), Preimage: n.Preimage}
		if len(n.Pos) > 0 {
			node.Pos = plan.Place(n.Pos).String()
		}
		for _, d := range n.Deps {
			node.Deps = append(node.Deps, d.Key)
		}
	}
	if node == nil {
		return
	}
	p.Nodes[key] = node
	for _, d := range node.Deps {
		p.keep(d, defined, past)
	}
}
