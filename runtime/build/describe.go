package build

import (
	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// PlanSchema is the version of Description. It is raised when a field changes its
// meaning or goes; fields that are added leave it alone.
const PlanSchema = "bake.plan/1"

// A Description is a plan as data, for other programs: what bake plan --json writes.
// A field that does not apply is left out.
type Description struct {
	Schema     string              `json:"schema"`     // PlanSchema
	Definition string              `json:"definition"` // the definition's file, as messages name it
	Project    string              `json:"project"`    // absolute path of the project's root
	Params     map[string]string   `json:"params,omitempty"`
	Targets    []TargetDescription `json:"targets"` // in the order of definition
	Nodes      []NodeDescription   `json:"nodes"`   // what the targets need, each after what it depends on
	Run        int                 `json:"run"`     // how many nodes would run, identical ones once
	Cached     int                 `json:"cached"`  // how many nodes are up to date
}

// A TargetDescription is an artifact or a test.
type TargetDescription struct {
	Name    string            `json:"name"`
	Kind    string            `json:"kind"`              // "artifact" or "test"
	Node    int               `json:"node"`              // the id of its node
	Formats []string          `json:"formats,omitempty"` // of an artifact of files
	Files   []FileDescription `json:"files,omitempty"`   // of an artifact that is up to date
}

// A FileDescription is a file of an artifact, or an image on a platform.
type FileDescription struct {
	Path   string `json:"path"`             // absolute; of an image, its name on the platform
	Format string `json:"format,omitempty"` // such as "qcow2"
	Size   int64  `json:"size,omitempty"`   // bytes
}

// A NodeDescription is a source, a step, a disk, an artifact or a test.
type NodeDescription struct {
	ID        int                   `json:"id"`
	Key       string                `json:"key"`  // hex; of its result in this run
	Name      string                `json:"name"` // as shown to users
	Kind      string                `json:"kind"` // such as "source", "shell", "disk", "export" or "test"
	Platform  string                `json:"platform,omitempty"`
	Pos       []PositionDescription `json:"pos"`                // the call stack in the definition, innermost first
	DependsOn []int                 `json:"depends_on"`         // ids; the first is that of the parent layer
	Uses      []int                 `json:"uses,omitempty"`     // ids of what it is written from beside, such as a disk; no part of its key
	After     []int                 `json:"after,omitempty"`    // ids of the tests that must have passed first
	State     string                `json:"state"`              // "cached" or "run"
	Reason    string                `json:"reason,omitempty"`   // why it would run
	Same      *int                  `json:"same,omitempty"`     // the id of the identical node that runs in its place
	Pin       *platforms.Pin        `json:"pin,omitempty"`      // what a loose origin resolved to
	Inputs    []InputDescription    `json:"inputs,omitempty"`   // files of the project
	Preimage  []FieldDescription    `json:"preimage,omitempty"` // what the key is the hash of
}

// A PositionDescription is one frame of a call stack in the definition.
type PositionDescription struct {
	File     string `json:"file"`
	Line     int    `json:"line"`   // from 1
	Column   int    `json:"column"` // from 1
	Function string `json:"function,omitempty"`
}

// An InputDescription is a file or directory that a node reads.
type InputDescription struct {
	Path   string `json:"path"`   // absolute
	Digest string `json:"digest"` // of names, types, permission bits, link targets and content
	Size   int64  `json:"size"`   // bytes of content
}

// A FieldDescription is one field of a key's preimage.
type FieldDescription struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Describe writes the plan of targets down as data, with what the schedule says.
func (b *Build) Describe(targets []builtins.Target, schedule *solve.Schedule) (*Description, error) {
	past, err := b.Past()
	if err != nil {
		return nil, err
	}
	d := &Description{
		Schema:     PlanSchema,
		Definition: b.Project.Show(b.Project.Definition),
		Project:    b.Project.Root,
		Params:     map[string]string{},
		Targets:    []TargetDescription{},
		Nodes:      []NodeDescription{},
	}
	for _, p := range b.Definition.Params {
		d.Params[p.Name] = p.Text()
	}
	needed := map[*plan.Node]bool{}
	for _, t := range targets {
		addNeeded(needed, t.Node)
		d.Targets = append(d.Targets, describeTarget(t, schedule))
	}
	for _, n := range b.Definition.Plan.Nodes {
		if needed[n] {
			d.Nodes = append(d.Nodes, describeNode(n, schedule.Of(n), past))
		}
	}
	d.Run, d.Cached = schedule.Count()
	return d, nil
}

// addNeeded adds n and all that it builds on.
func addNeeded(set map[*plan.Node]bool, n *plan.Node) {
	if set[n] {
		return
	}
	set[n] = true
	for _, d := range n.Deps {
		addNeeded(set, d)
	}
	for _, u := range n.Uses {
		addNeeded(set, u)
	}
	for _, a := range n.After {
		addNeeded(set, a)
	}
}

func describeTarget(t builtins.Target, schedule *solve.Schedule) TargetDescription {
	d := TargetDescription{Name: t.Name, Kind: "artifact", Node: t.Node.ID}
	switch o := t.Node.Op.(type) {
	case plan.Check:
		d.Kind = "test"
	case *export.Op:
		d.Formats = o.Formats
	}
	for _, f := range schedule.Of(t.Node).Files {
		d.Files = append(d.Files, FileDescription(f))
	}
	return d
}

func describeNode(n *plan.Node, decision solve.Decision, past *Past) NodeDescription {
	d := NodeDescription{
		ID:        n.ID,
		Key:       decision.Key.String(),
		Name:      n.Name,
		Kind:      n.Op.Kind(),
		Pos:       []PositionDescription{},
		DependsOn: ids(n.Deps),
		State:     string(solve.Cached), // what nothing needs to run for
		Pin:       n.Pin,
	}
	if len(n.Uses) > 0 {
		d.Uses = ids(n.Uses)
	}
	if len(n.After) > 0 {
		d.After = ids(n.After)
	}
	if n.Platform != nil {
		d.Platform = n.Platform.Name
	}
	for _, p := range n.Pos {
		d.Pos = append(d.Pos, PositionDescription{p.File, p.Line, p.Col, p.Func})
	}
	if decision.State == solve.ToRun {
		d.State, d.Reason = string(solve.ToRun), past.Why(n, decision)
	}
	if decision.Same != nil {
		d.Same = &decision.Same.ID
	}
	if r, ok := n.Op.(plan.Reader); ok {
		for _, in := range r.Inputs() {
			d.Inputs = append(d.Inputs, InputDescription{in.Path, string(in.Digest), in.Size})
		}
	}
	for _, f := range n.Preimage {
		d.Preimage = append(d.Preimage, FieldDescription(f))
	}
	return d
}

func ids(nodes []*plan.Node) []int {
	list := make([]int, len(nodes))
	for i, n := range nodes {
		list[i] = n.ID
	}
	return list
}
