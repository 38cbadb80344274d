package main

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/spell"
	"bake.build/bake/runtime/plan"
)

// choose returns the targets that any of the patterns match, in the order of
// definition; all of them when there are no patterns.
func choose(all []builtins.Target, patterns []string) ([]builtins.Target, error) {
	if len(patterns) == 0 {
		return all, nil
	}
	chosen := make(map[string]bool)
	for _, pattern := range patterns {
		found := false
		for _, t := range all {
			ok, err := path.Match(pattern, t.Name)
			if err != nil {
				return nil, coded(exitUsage, fmt.Errorf("target %q: %w", pattern, err))
			}
			if ok {
				chosen[t.Name], found = true, true
			}
		}
		if !found {
			return nil, coded(exitUsage, fmt.Errorf("no target %q%s", pattern, spell.Hint(pattern, "targets", targetNames(all))))
		}
	}
	var targets []builtins.Target
	for _, t := range all {
		if chosen[t.Name] {
			targets = append(targets, t)
		}
	}
	return targets, nil
}

func targetNames(targets []builtins.Target) []string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.Name
	}
	return names
}

func targetNodes(targets []builtins.Target) []*plan.Node {
	nodes := make([]*plan.Node, len(targets))
	for i, t := range targets {
		nodes[i] = t.Node
	}
	return nodes
}

// find returns the node that address names: an artifact or a test by its name,
// a step by its name, any node by the beginning of its key (six hex digits or
// more) or by its place, as file:line.
func find(d *builtins.Definition, address string) (*plan.Node, error) {
	for _, t := range slices.Concat(d.Artifacts, d.Tests) {
		if t.Name == address {
			return t.Node, nil
		}
	}
	var found []*plan.Node
	for _, n := range d.Plan.Nodes {
		if addresses(n, address) && !slices.ContainsFunc(found, func(m *plan.Node) bool { return m.Key == n.Key }) {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, coded(exitUsage, fmt.Errorf("no artifact, test or step %q%s", address, spell.Hint(address, "there are", addressable(d))))
	}
	keys := make([]string, len(found))
	for i, n := range found {
		keys[i] = fmt.Sprintf("%s (%s)", n.Key.Short(), n.Name)
	}
	return nil, coded(exitUsage, fmt.Errorf("%q names %d steps: %s; use the key", address, len(found), strings.Join(keys, ", ")))
}

func addresses(n *plan.Node, address string) bool {
	if n.Name == address || strings.TrimPrefix(n.Name, n.Op.Kind()+": ") == address {
		return true
	}
	if len(address) >= 6 && strings.HasPrefix(n.Key.String(), address) {
		return true
	}
	return slices.ContainsFunc(n.Pos, func(p plan.Pos) bool {
		return fmt.Sprintf("%s:%d", p.File, p.Line) == address
	})
}

func addressable(d *builtins.Definition) []string {
	names := append(targetNames(d.Artifacts), targetNames(d.Tests)...)
	for _, n := range d.Plan.Nodes {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// layerOf returns the layer that n is, or that it was made of.
func layerOf(n *plan.Node) (*plan.Node, error) {
	for m := n; ; m = m.Deps[0] {
		switch m.Op.(type) {
		case plan.Source, plan.Step:
			return m, nil
		}
		if len(m.Deps) == 0 {
			return nil, fmt.Errorf("%s is not made of a layer", n.Name)
		}
	}
}
