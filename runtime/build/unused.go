package build

import (
	"fmt"

	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
)

// WarnUnused warns of each call in the definition's own file of which a step is left
// that nothing builds on, exports or tests: its value was probably not assigned. A
// call may offer several layers, of which one is enough, and modules that are loaded
// may offer layers that this definition does not need.
func (b *Build) WarnUnused() {
	for _, e := range unused(b.Project, b.Definition.Plan) {
		b.warn(e.Error())
	}
}

// unused returns what there is to warn of, each at its position.
func unused(project *eval.Project, p *plan.Plan) (found []*plan.Error) {
	file := project.Show(project.Definition)
	used := make(map[*plan.Node]bool)
	useful := make(map[plan.Pos]bool) // calls of which another call uses a layer
	for _, n := range p.Nodes {
		to, _ := calledIn(file, n.Pos)
		for _, d := range n.Deps {
			used[d] = true
			if from, ok := calledIn(file, d.Pos); ok && from != to {
				useful[from] = true
			}
		}
	}
	for _, n := range p.Nodes {
		if _, ok := n.Op.(plan.Step); !ok || used[n] {
			continue
		}
		if pos, ok := calledIn(file, n.Pos); ok && !useful[pos] {
			useful[pos] = true // told
			err := fmt.Errorf("nothing uses the layer of %q: assign it, as in m = shell(m, …), and export or test what is made of it", n.Name)
			found = append(found, &plan.Error{Pos: []plan.Pos{pos}, Err: err})
		}
	}
	return found
}

// calledIn returns the innermost position of a call stack in file; ok says that
// nothing but that file's own lines has led to the call, and not the loading of
// another.
func calledIn(file string, stack []plan.Pos) (pos plan.Pos, ok bool) {
	tops := 0
	for _, p := range stack {
		if p.Func == "" {
			tops++
		}
		if p.File == file && !ok {
			pos, ok = p, true
		}
	}
	return pos, ok && tops == 1
}
