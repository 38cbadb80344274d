package main

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

// A pastBuild is what is kept of the last build of a definition, so that the
// next one can say what changed.
type pastBuild struct {
	Targets map[string]plan.Key    `json:"targets"`
	Nodes   map[plan.Key]*pastNode `json:"nodes"`

	places map[*plan.Node]plan.Key // what each node of the plan was; nil before it is asked for
}

// A pastNode is one node of a pastBuild.
type pastNode struct {
	Name     string        `json:"name"`
	Kind     string        `json:"kind"`
	Pos      string        `json:"pos"`
	Preimage plan.Preimage `json:"preimage"`
	Deps     []plan.Key    `json:"deps,omitempty"`
}

// past returns the record of the last build of the session's definition; it is
// empty when there was none.
func (s *session) past() (*pastBuild, error) {
	p := &pastBuild{Targets: map[string]plan.Key{}, Nodes: map[plan.Key]*pastNode{}}
	data, err := s.store.GetRecord(recordBuild, s.project.Definition)
	if errors.Is(err, store.ErrMissing) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of the last build: %w", err)
	}
	if err := json.Unmarshal(data, p); err != nil {
		// Another version of bake wrote it: what it knew is lost, no more.
		return &pastBuild{Targets: map[string]plan.Key{}, Nodes: map[plan.Key]*pastNode{}}, nil
	}
	return p, nil
}

// remember records the build, unless nothing ran and it is the one recorded.
func (s *session) remember(targets []builtins.Target, result *solve.Result) error {
	past, err := s.past()
	if err != nil {
		return err
	}
	changed := false
	now := &pastBuild{Targets: past.Targets, Nodes: map[plan.Key]*pastNode{}}
	for _, t := range targets {
		changed = changed || past.Targets[t.Name] != t.Node.Key
		now.Targets[t.Name] = t.Node.Key
	}
	if !changed && result.Ran+result.Failed == 0 {
		return nil
	}
	defined := make(map[plan.Key]*plan.Node)
	for _, n := range s.def.Plan.Nodes {
		defined[n.Key] = n
	}
	for _, key := range now.Targets {
		now.keep(key, defined, past)
	}
	data, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return s.store.PutRecord(recordBuild, s.project.Definition, data)
}

// keep adds the node of key and what it depends on, from the plan or else from
// an earlier record.
func (b *pastBuild) keep(key plan.Key, defined map[plan.Key]*plan.Node, past *pastBuild) {
	if b.Nodes[key] != nil {
		return
	}
	p := past.Nodes[key]
	if n := defined[key]; n != nil {
		p = &pastNode{Name: n.Name, Kind: n.Op.Kind(), Preimage: n.Preimage}
		if len(n.Pos) > 0 {
			p.Pos = plan.Place(n.Pos).String()
		}
		for _, d := range n.Deps {
			p.Deps = append(p.Deps, d.Key)
		}
	}
	if p == nil {
		return
	}
	b.Nodes[key] = p
	for _, d := range p.Deps {
		b.keep(d, defined, past)
	}
}
