package spec

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

type planArgs struct {
	Of starlark.Value `bake:"of,required" help:"A layer, an artifact, or what t.definition returns."`
}

func (t *T) planMethod() builtins.Builtin {
	return builtins.Declare("t.plan", `Returns what a layer or an artifact is made of, without making it.

The plan has steps: all that is needed, each after what it depends on; and of the last step key, platform and name, of all steps scripts, inputs and keys, and text, the plan as t.golden compares it. A step has name, kind (such as "source", "shell", "copy", "write", "export"), key, platform, at (its file and line), script, inputs (each with path, digest and size) and data: all that its key is made from, as text by name.

Nothing is asked of a network. Keys are those of a build where bake.lock has the pins; of an origin without one they follow from what the definition says.`, "plan",
		func(c *builtins.Call, a *planArgs) (starlark.Value, error) {
			if t.context.Failures() != nil {
				return nil, errStop // what has failed has no nodes
			}
			nodes, err := t.needed(a.Of)
			if err != nil {
				return nil, fmt.Errorf("of: %w", err)
			}
			if err := t.runner.trials.Seal(t.ctx, t.project, t.context.Plan()); err != nil {
				return nil, err
			}
			return t.planOf(nodes)
		})
}

// needed returns the nodes that v needs, in the order of definition.
func (t *T) needed(v starlark.Value) ([]*plan.Node, error) {
	var of []*plan.Node
	switch v := v.(type) {
	case *builtins.Layer:
		of = []*plan.Node{v.Node()}
	case *builtins.Artifact:
		of = []*plan.Node{v.Node()}
	case *definition:
		for _, target := range slices.Concat(v.Artifacts, v.Tests) {
			of = append(of, target.Node)
		}
		if len(of) == 0 {
			return nil, errors.New("the definition has no targets")
		}
	default:
		return nil, fmt.Errorf("got %s, want a layer, an artifact or a definition", v.Type())
	}
	set := map[*plan.Node]bool{}
	var add func(n *plan.Node)
	add = func(n *plan.Node) {
		if !set[n] {
			set[n] = true
			for _, d := range slices.Concat(n.Deps, n.Uses) {
				add(d)
			}
		}
	}
	for _, n := range of {
		add(n)
	}
	return slices.DeleteFunc(t.context.Plan().Nodes, func(n *plan.Node) bool { return !set[n] }), nil
}

// planOf makes the value of nodes, which are sealed.
func (t *T) planOf(nodes []*plan.Node) (starlark.Value, error) {
	var steps, scripts, inputs, keys []starlark.Value
	var text strings.Builder
	seen := map[string]bool{}
	for _, n := range nodes {
		data := t.data(n)
		step, script := t.step(n, data)
		steps, keys = append(steps, step), append(keys, starlark.String(n.Key.String()))
		if script != "" {
			scripts = append(scripts, starlark.String(script))
		}
		for _, in := range t.inputs(n) {
			if path := in.(*starlarkstruct.Struct); !seen[path.String()] {
				seen[path.String()] = true
				inputs = append(inputs, in)
			}
		}
		writeStep(&text, n, data)
	}
	last := nodes[len(nodes)-1]
	p := starlarkstruct.FromStringDict(starlark.String("plan"), starlark.StringDict{
		"steps":    starlark.NewList(steps),
		"scripts":  starlark.NewList(scripts),
		"inputs":   starlark.NewList(inputs),
		"keys":     starlark.NewList(keys),
		"key":      starlark.String(last.Key.String()),
		"name":     starlark.String(last.Name),
		"platform": starlark.String(platformOf(last)),
		"text":     starlark.String(text.String()),
	})
	p.Freeze()
	return p, nil
}

func platformOf(n *plan.Node) string {
	if n.Platform == nil {
		return ""
	}
	return n.Platform.Name
}

// A datum is one part of what a node's key is made from.
type datum struct{ name, value string }

// derived are the fields of a preimage that follow from the node's place in the plan.
var derived = []string{"op", "platform", "pin"}

// data returns what a node says of itself. A digest of an input is its path.
func (t *T) data(n *plan.Node) []datum {
	paths := map[string]string{}
	if r, ok := n.Op.(plan.Reader); ok {
		for _, in := range r.Inputs() {
			paths[string(in.Digest)] = t.path(in)
		}
	}
	var data []datum
	for _, f := range n.Preimage {
		if slices.Contains(derived, f.Name) || strings.HasPrefix(f.Name, "parent[") || strings.HasSuffix(f.Name, "writer") {
			continue
		}
		name := strings.TrimPrefix(f.Name, "command.")
		if path, ok := paths[f.Value]; ok {
			f.Value = path
		}
		if mode, err := strconv.ParseUint(f.Value, 10, 32); name == "mode" && err == nil {
			f.Value = fmt.Sprintf("%04o", mode)
		}
		data = append(data, datum{name, f.Value})
	}
	return data
}

// path names an input from the project's root.
func (t *T) path(in *plan.Input) string {
	if rel, err := filepath.Rel(t.project.Root, in.Path); err == nil && filepath.IsLocal(rel) {
		return "//" + filepath.ToSlash(rel)
	}
	return filepath.ToSlash(in.Path)
}

func (t *T) inputs(n *plan.Node) []starlark.Value {
	r, ok := n.Op.(plan.Reader)
	if !ok {
		return nil
	}
	var inputs []starlark.Value
	for _, in := range r.Inputs() {
		inputs = append(inputs, starlarkstruct.FromStringDict(starlark.String("input"), starlark.StringDict{
			"path":   starlark.String(t.path(in)),
			"digest": starlark.String(in.Digest),
			"size":   starlark.MakeInt64(in.Size),
		}))
	}
	return inputs
}

func (t *T) step(n *plan.Node, data []datum) (step starlark.Value, script string) {
	fields := starlark.NewDict(len(data))
	for _, d := range data {
		if d.name == "script" {
			script = d.value
		}
		if err := fields.SetKey(starlark.String(d.name), starlark.String(d.value)); err != nil {
			panic(err) // a string can be a key, and the dict is new
		}
	}
	place := plan.Place(n.Pos)
	return starlarkstruct.FromStringDict(starlark.String("step"), starlark.StringDict{
		"name":     starlark.String(n.Name),
		"kind":     starlark.String(n.Op.Kind()),
		"key":      starlark.String(n.Key.String()),
		"platform": starlark.String(platformOf(n)),
		"at":       starlark.String(fmt.Sprintf("%s:%d", place.File, place.Line)),
		"script":   starlark.String(script),
		"inputs":   starlark.NewList(t.inputs(n)),
		"data":     fields,
	}), script
}

// functions matches the shell functions of a script, with the comments before them.
var functions = lazyregexp.New(`(?m)^(#[^!].*\n)*\w+\(\) \{\n(.*\n)*?\}\n`)

// writeStep writes a step as golden files have it: neither keys nor pins, which change
// with each release and each update, nor the shell functions that the shipped library's
// scripts begin with, which say nothing of the definition.
func writeStep(b *strings.Builder, n *plan.Node, data []datum) {
	if !strings.HasPrefix(n.Name, n.Op.Kind()+": ") {
		b.WriteString(n.Op.Kind() + ": ")
	}
	b.WriteString(n.Name)
	if p := platformOf(n); p != "" {
		fmt.Fprintf(b, " (%s)", p)
	}
	b.WriteByte('\n')
	for _, d := range data {
		if d.name == "script" && len(n.Pos) > 0 && strings.HasPrefix(n.Pos[0].File, "@bake//") {
			d.value = functions.ReplaceAllStringFunc(d.value, func(string) string { return "" })
		}
		if !strings.Contains(strings.TrimSuffix(d.value, "\n"), "\n") {
			fmt.Fprintf(b, "    %s: %s\n", d.name, strings.TrimSuffix(d.value, "\n"))
			continue
		}
		fmt.Fprintf(b, "    %s:\n", d.name)
		for line := range strings.Lines(d.value) {
			b.WriteString(strings.TrimRight("        | "+strings.TrimSuffix(line, "\n"), " ") + "\n")
		}
	}
}
