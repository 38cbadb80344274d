package build

import (
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// A Change is what became different in one node.
type Change struct {
	Node   *plan.Node
	Was    *PastNode // nil for a new node
	Fields []FieldChange
	Gone   []*PastNode // steps that ran right before it and are no more
}

// A FieldChange is one field of a preimage that became different.
type FieldChange struct {
	Name     string // of the preimage's field; see plan.Preimage
	Old, Now string // "" when there is none
}

// Changes compares n with its counterpart of the last build, and what it
// depends on with theirs. The changes come in the order in which the nodes
// run. known is false when n has no counterpart.
func (p *Past) Changes(n *plan.Node) (changes []Change, known bool) {
	if _, ok := p.counterpart(n); !ok {
		return nil, false
	}
	seen := make(map[*plan.Node]bool)
	var walk func(n *plan.Node)
	walk = func(n *plan.Node) {
		if p.Nodes[n.Key] != nil || seen[n] {
			return
		}
		seen[n] = true
		for _, dep := range n.Deps {
			walk(dep)
		}
		c := Change{Node: n, Was: p.Nodes[p.places[n]]}
		for _, key := range p.gone[n] {
			c.Gone = append(c.Gone, p.Nodes[key])
		}
		if c.Was != nil && c.Was.Kind == n.Op.Kind() {
			if c.Fields = compare(c.Was.Preimage, n.Preimage); len(c.Fields)+len(c.Gone) == 0 {
				return
			}
		}
		changes = append(changes, c)
	}
	walk(n)
	return changes, true
}

// counterpart returns the key that n had in the last build: that of the node in
// the same place of the graph below a target.
func (p *Past) counterpart(n *plan.Node) (plan.Key, bool) {
	if p.Nodes[n.Key] != nil {
		return n.Key, true
	}
	if p.places == nil {
		p.places, p.gone = make(map[*plan.Node]plan.Key), make(map[*plan.Node][]plan.Key)
		for _, t := range Targets(p.definition) {
			if old, ok := p.Targets[t.Name]; ok {
				p.align(t.Node, old)
			}
		}
	}
	key, ok := p.places[n]
	return key, ok
}

// compare returns the fields that differ, but for those of parents: what
// changed there is told at the parent.
func compare(old, now plan.Preimage) []FieldChange {
	was := make(map[string]string, len(old))
	for _, f := range old {
		was[f.Name] = f.Value
	}
	var changes []FieldChange
	for _, f := range now {
		v, ok := was[f.Name]
		delete(was, f.Name)
		if (!ok || v != f.Value) && !strings.HasPrefix(f.Name, "parent[") {
			changes = append(changes, FieldChange{f.Name, v, f.Value})
		}
	}
	for _, f := range old {
		if v, left := was[f.Name]; left && !strings.HasPrefix(f.Name, "parent[") {
			changes = append(changes, FieldChange{f.Name, v, ""})
		}
	}
	return changes
}

// InputOf returns the path of n's input that has the digest, or "".
func InputOf(n *plan.Node, digest string) string {
	r, ok := n.Op.(plan.Reader)
	if !ok || digest == "" {
		return ""
	}
	for _, in := range r.Inputs() {
		if string(in.Digest) == digest {
			return in.Path
		}
	}
	return ""
}

// Option returns the name of the field as a definition's author knows it: the name
// of the option.
func (f FieldChange) Option() string {
	field := strings.TrimPrefix(f.Name, "command.")
	field, _, _ = strings.Cut(field, "[")
	switch field = strings.TrimSuffix(field, "#"); field {
	case "platform":
		return "the platform's driver (another bake)"
	case "writer":
		return "the writer of artifacts (another bake)"
	case "pin":
		return "the pin of the origin"
	}
	return field
}

// Reason says in a few words why n has no layer yet, or returns "".
func (p *Past) Reason(n *plan.Node) string {
	key, ok := p.counterpart(n)
	was := p.Nodes[key]
	switch {
	case key == n.Key && ok:
		return ""
	case was == nil || was.Kind != n.Op.Kind():
		return "new"
	}
	var names []string
	for _, f := range compare(was.Preimage, n.Preimage) {
		name := f.Option()
		if path := InputOf(n, f.Now); path != "" {
			name = filepath.Base(path)
		}
		names = append(names, name)
	}
	switch {
	case len(names) > 0:
	case len(p.gone[n]) > 0:
		return "a step before it was removed"
	default:
		return "its parent changed"
	}
	return strings.Join(slices.Compact(names), ", ") + " changed"
}

// Why says in a few words why n would run, as the schedule has decided.
func (p *Past) Why(n *plan.Node, d solve.Decision) string {
	if why := p.Reason(n); why != "" && !strings.Contains(d.Reason, "always") {
		return why
	}
	return d.Reason
}
