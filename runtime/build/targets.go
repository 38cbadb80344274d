package build

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/spell"
	"bake.build/bake/runtime/plan"
)

// Choose returns the targets that any of the patterns match, in the order of
// definition; all of them when there are no patterns.
func Choose(all []builtins.Target, patterns []string) ([]builtins.Target, error) {
	if len(patterns) == 0 {
		return all, nil
	}
	chosen := make(map[string]bool)
	for _, pattern := range patterns {
		found := false
		for _, t := range all {
			if matches(pattern, t.Name) {
				chosen[t.Name], found = true, true
			}
		}
		if !found {
			return nil, of(KindUsage, fmt.Errorf("no target %q%s", pattern, among(pattern, "targets", TargetNames(all))))
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

// Targets returns the artifacts and the tests of a definition.
func Targets(d *builtins.Definition) []builtins.Target { return slices.Concat(d.Artifacts, d.Tests) }

// WithTests adds the tests of the artifacts among targets: an artifact is good
// when they have passed.
func WithTests(d *builtins.Definition, targets []builtins.Target) []builtins.Target {
	all := slices.Clone(targets)
	for _, t := range targets {
		for _, test := range testsOf(d, t.Node) {
			if !slices.Contains(all, test) {
				all = append(all, test)
			}
		}
	}
	return all
}

// testsOf returns the tests of the artifact n.
func testsOf(d *builtins.Definition, n *plan.Node) []builtins.Target {
	var tests []builtins.Target
	for _, t := range d.Tests {
		if len(t.Node.Deps) > 0 && t.Node.Deps[0] == n {
			tests = append(tests, t)
		}
	}
	return tests
}

// TargetNames returns the names of targets.
func TargetNames(targets []builtins.Target) []string {
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

// Find returns the one node that address names: an artifact or a test by its
// name, a step by its name, any node by the beginning of its key (six hex digits
// or more) or by its place, as file:line. Names may be patterns.
func Find(d *builtins.Definition, address string) (*plan.Node, error) {
	found, err := FindAll(d, address)
	if err != nil {
		return nil, err
	}
	if len(found) == 1 {
		return found[0], nil
	}
	keys := make([]string, len(found))
	for i, n := range found {
		keys[i] = fmt.Sprintf("%s (%s)", n.Key.Short(), n.Name)
	}
	return nil, of(KindUsage, fmt.Errorf("%q names %d steps: %s; use the key", address, len(found), strings.Join(keys, ", ")))
}

// FindAll returns the nodes that address names, one for each key; see Find. The
// name of a target is that of no step.
func FindAll(d *builtins.Definition, address string) ([]*plan.Node, error) {
	var found []*plan.Node
	for _, t := range Targets(d) {
		if t.Name == address {
			return []*plan.Node{t.Node}, nil
		}
		if matches(address, t.Name) {
			found = append(found, t.Node)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	for _, n := range d.Plan.Nodes {
		if _, ok := n.Op.(plan.Intermediate); ok {
			continue // shares the place of what uses it
		}
		if addresses(n, address) && !slices.ContainsFunc(found, func(m *plan.Node) bool { return m.Key == n.Key }) {
			found = append(found, n)
		}
	}
	if len(found) == 0 {
		err := fmt.Errorf("no artifact, test or step %q%s", address, among(address, "there are", Addressable(d)))
		return nil, of(KindUsage, WithHint(err, elsewhere(d, address)))
	}
	return found, nil
}

// elsewhere says how to address a place in a file that d is not made of; "" for other
// addresses.
func elsewhere(d *builtins.Definition, address string) string {
	name, line, ok := strings.Cut(address, ".star:")
	if !ok || slices.ContainsFunc(d.Plan.Nodes, func(n *plan.Node) bool {
		return slices.ContainsFunc(n.Pos, func(p plan.Pos) bool { return p.File == name+".star" })
	}) {
		return ""
	}
	return fmt.Sprintf("for a place in another definition, give that first: %[1]s.star %[1]s.star:%s", name, line)
}

func addresses(n *plan.Node, address string) bool {
	if matches(address, n.Name) || matches(address, strings.TrimPrefix(n.Name, n.Op.Kind()+": ")) {
		return true
	}
	if len(address) >= 6 && strings.HasPrefix(n.Key.String(), address) {
		return true
	}
	return slices.ContainsFunc(n.Pos, func(p plan.Pos) bool { return isPlace(p, address) })
}

// maxNamesLine is how many bytes of names stand in one line of a message.
const maxNamesLine = 100

// among is spell.Hint with a line for each name where there are many: names of
// steps are long, and have commas in them.
func among(name, what string, names []string) string {
	hint := spell.Hint(name, what, names)
	if len(hint) <= maxNamesLine || spell.Nearest(name, names) != "" {
		return hint
	}
	return "; " + what + ":\n" + strings.Join(slices.Sorted(slices.Values(names)), "\n")
}

// matches reports whether name is what pattern says or matches it. What is no
// valid pattern may be a name all the same, such as that of a step with a "[". A
// "/" is a letter like others: names such as "copy: site/ → /var/www/" are no paths.
func matches(pattern, name string) bool {
	flat := strings.NewReplacer("/", "\x00").Replace
	ok, err := path.Match(flat(pattern), flat(name))
	return pattern == name || ok && err == nil
}

// isPlace reports whether address, as file:line, is the place of p. Files are
// shown as seen from the working directory: of one that is elsewhere, the end of
// its path is enough.
func isPlace(p plan.Pos, address string) bool {
	file, line, ok := strings.Cut(address, ":")
	if !ok || line != strconv.Itoa(p.Line) {
		return false
	}
	file = path.Clean(strings.ReplaceAll(file, `\`, "/"))
	return p.File == file || strings.HasSuffix(p.File, "/"+strings.TrimLeft(file, "./"))
}

// Addressable returns the names that Find knows, sorted.
func Addressable(d *builtins.Definition) []string {
	names := append(TargetNames(d.Artifacts), TargetNames(d.Tests)...)
	for _, n := range d.Plan.Nodes {
		if _, ok := n.Op.(plan.Intermediate); !ok {
			names = append(names, n.Name)
		}
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
