package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bake.build/bake/builtins"
	"bake.build/bake/runtime/plan"
)

func (a *app) explainCommand() *cobra.Command {
	f := &definitionFlags{}
	cmd := &cobra.Command{
		Use:   "explain [DEFINITION] NODE",
		Short: "say which input of a step or an artifact changed since the last build",
		Long: `Says which input of a node changed since the last build of its definition. A
node is an artifact or a test by its name, a step by its name, its place
(images.star:12) or the beginning of its key. A pattern such as "web*" names all
that it matches.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.explain(cmd.Context(), args, f)
		},
	}
	cmd.ValidArgsFunction = a.completer(addressable)
	f.add(cmd.Flags())
	return cmd
}

func (a *app) explain(ctx context.Context, args []string, f *definitionFlags) error {
	file, address := a.splitAddress(args)
	return a.withSession(ctx, file, f, func(s *session) error {
		nodes, err := findAll(s.def, address)
		if err != nil {
			return err
		}
		past, err := s.past()
		if err != nil {
			return err
		}
		for _, n := range nodes {
			s.explainNode(past, n)
		}
		return nil
	})
}

// splitAddress takes the definition off the arguments DEFINITION NODE. Where it is
// left out and there is none here, a place in another one names that too.
func (a *app) splitAddress(args []string) (definition, address string) {
	if len(args) == 2 {
		return args[0], args[1]
	}
	if file, _, ok := strings.Cut(args[0], ".star:"); ok && !a.isFile(defaultDefinition) && a.isFile(file+".star") {
		return file + ".star", args[0]
	}
	return defaultDefinition, args[0]
}

func (s *session) explainNode(past *pastBuild, n *plan.Node) {
	a := s.app
	fmt.Fprintf(a.stdout, "%s  %s\n", n.Key.Short(), n.Name)
	changes, known := past.changes(s.def, n)
	switch {
	case !known:
		fmt.Fprintln(a.stdout, "  has not been built before")
	case len(changes) == 0:
		fmt.Fprintln(a.stdout, "  nothing changed since the last build")
	}
	for _, c := range changes {
		c.write(a.stdout, a.rel)
	}
}

// A change is what became different in one node.
type change struct {
	node   *plan.Node
	was    *pastNode // nil when the node took the place of nothing
	fields []fieldChange
}

// A fieldChange is one field of a preimage that became different.
type fieldChange struct {
	name     string
	old, now string // "" when there is none
}

// changes compares n with its counterpart of the last build, and what it
// depends on with theirs. The changes come in the order in which the nodes
// run. known is false when n has no counterpart.
func (b *pastBuild) changes(d *builtins.Definition, n *plan.Node) (changes []change, known bool) {
	key, ok := b.counterpart(d, n)
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
		was := b.Nodes[old]
		for i, dep := range n.Deps {
			if was != nil && i < len(was.Deps) {
				walk(dep, was.Deps[i])
			}
		}
		c := change{node: n, was: was}
		if was != nil && was.Kind == n.Op.Kind() {
			if c.fields = compare(was.Preimage, n.Preimage); len(c.fields) == 0 {
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
func (b *pastBuild) counterpart(d *builtins.Definition, n *plan.Node) (plan.Key, bool) {
	if b.Nodes[n.Key] != nil {
		return n.Key, true
	}
	if b.places == nil {
		b.places = make(map[*plan.Node]plan.Key)
		for _, t := range slices.Concat(d.Artifacts, d.Tests) {
			if old, ok := b.Targets[t.Name]; ok {
				b.align(t.Node, old)
			}
		}
	}
	key, ok := b.places[n]
	return key, ok
}

// align records that n stands where the node of key old stood, and goes on
// with what both depend on.
func (b *pastBuild) align(n *plan.Node, old plan.Key) {
	was := b.Nodes[old]
	if _, done := b.places[n]; done || was == nil {
		return
	}
	b.places[n] = old
	for i, dep := range n.Deps {
		if i < len(was.Deps) {
			b.align(dep, was.Deps[i])
		}
	}
}

// compare returns the fields that differ, but for those of parents: what
// changed there is told at the parent.
func compare(old, now plan.Preimage) []fieldChange {
	was := make(map[string]string, len(old))
	for _, f := range old {
		was[f.Name] = f.Value
	}
	var changes []fieldChange
	for _, f := range now {
		v, ok := was[f.Name]
		delete(was, f.Name)
		if (!ok || v != f.Value) && !strings.HasPrefix(f.Name, "parent[") {
			changes = append(changes, fieldChange{f.Name, v, f.Value})
		}
	}
	for _, f := range old {
		if v, left := was[f.Name]; left && !strings.HasPrefix(f.Name, "parent[") {
			changes = append(changes, fieldChange{f.Name, v, ""})
		}
	}
	return changes
}

// write prints the change for people; rel writes a path as they know it.
func (c *change) write(w io.Writer, rel func(string) string) {
	place := ""
	if len(c.node.Pos) > 0 {
		place = plan.Place(c.node.Pos).String() + ": "
	}
	if c.was == nil || c.was.Kind != c.node.Op.Kind() {
		fmt.Fprintf(w, "  %s%s\n    is new in this place", place, c.node.Name)
		if c.was != nil {
			fmt.Fprintf(w, " (was: %s)", c.was.Name)
		}
		fmt.Fprintln(w)
		return
	}
	fmt.Fprintf(w, "  %s%s\n", place, c.node.Name)
	for _, f := range c.fields {
		if path := inputOf(c.node, f.now); path != "" {
			fmt.Fprintf(w, "    the content of %s changed\n", rel(path))
			continue
		}
		f.name = plain(f.name)
		writeField(w, f)
	}
}

// inputOf returns the path of n's input that has the digest, or "".
func inputOf(n *plan.Node, digest string) string {
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

// writeField prints the lines that a field lost and got.
func writeField(w io.Writer, f fieldChange) {
	if !strings.Contains(f.old+f.now, "\n") {
		fmt.Fprintf(w, "    %s: %s → %s\n", f.name, quoted(f.old), quoted(f.now))
		return
	}
	fmt.Fprintf(w, "    %s:\n", f.name)
	old, now := strings.Split(f.old, "\n"), strings.Split(f.now, "\n")
	for _, line := range old {
		if !slices.Contains(now, line) {
			fmt.Fprintf(w, "      - %s\n", line)
		}
	}
	for _, line := range now {
		if !slices.Contains(old, line) {
			fmt.Fprintf(w, "      + %s\n", line)
		}
	}
}

// plain returns the name of a field as a definition's author knows it: the name
// of the option.
func plain(field string) string {
	field = strings.TrimPrefix(field, "command.")
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

func quoted(s string) string {
	if s == "" {
		return "(none)"
	}
	return fmt.Sprintf("%q", s)
}

// reason says in a few words why n has no layer yet, or returns "".
func (b *pastBuild) reason(d *builtins.Definition, n *plan.Node) string {
	key, ok := b.counterpart(d, n)
	was := b.Nodes[key]
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
		name := plain(f.name)
		if path := inputOf(n, f.now); path != "" {
			name = filepath.Base(path)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "its parent changed"
	}
	return strings.Join(slices.Compact(names), ", ") + " changed"
}
