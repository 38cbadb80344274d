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
	Was    *PastNode // nil when the node took the place of nothing
	Fields []FieldChange
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
	key, ok := p.counterpart(n)
	if !ok {
		return nil, false
	}
	seen := make(map[*plan.Node]bool)
	var walk func(n *plan.Node, old plan.Key)
	walk = func(n *plan.Node, old plan.Key) {
		if n.Key == old || seen[n] {
			return
		}
		seen[n] = true
		was := p.Nodes[old]
		for i, dep := range n.Deps {
			if was != nil && i < len(was.Deps) {
				walk(dep, was.Deps[i])
			}
		}
		c := Change{Node: n, Was: was}
		if was != nil && was.Kind == n.Op.Kind() {
			if c.Fields = compare(was.Preimage, n.Preimage); len(c.Fields) == 0 {
				return
			}
		}
		changes = append(changes, c)
	}
	walk(n, key)
	return changes, true
}

// counterpart returns the key that n had in the last build: that of the node in
// the same place of the graph below a target.
func (p *Past) counterpart(n *plan.Node) (plan.Key, bool) {
	if p.Nodes[n.Key] != nil {
		return n.Key, true
	}
	if p.places == nil {
		p.places = make(map[*plan.Node]plan.Key)
		for _, t := range Targets(p.definition) {
			if old, ok := p.Targets[t.Name]; ok {
				p.align(t.Node, old)
			}
		}
	}
	key, ok := p.places[n]
	return key, ok
}

// align records that n stands where the node of key old stood, and goes on
// with what both depend on.
func (p *Past) align(n *plan.Node, old plan.Key) {
	was := p.Nodes[old]
	if _, done := p.places[n]; done || was == nil {
		return
	}
	p.places[n] = old
	for i, dep := range n.Deps {
		if i < len(was.Deps) {
			p.align(dep, was.Deps[i])
		}
	}
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
	case !ok || was == nil:
		return "new"
	case key == n.Key:
		return ""
	case was.Kind != n.Op.Kind():
		return "new in this place"
	}
	var names []string
	for _, f := range compare(was.Preimage, n.Preimage) {
		name := f.Option()
		if path := InputOf(n, f.Now); path != "" {
			name = filepath.Base(path)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
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
