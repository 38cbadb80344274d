package builtins

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
	"go.starlark.net/starlark"
)

// A Config says what a definition is evaluated with.
type Config struct {
	Project   *eval.Project
	Platforms []platforms.Spec
	Formats   export.Table
	Params    map[string]ParamInput // by the name of the parameter

	// Pins are what the sources are known to resolve to. A definition that reads
	// others sees a placeholder; see Context.Stale.
	Pins Pins

	// Absent maps the names of platforms that exist, but not in this program, to
	// what to say of them.
	Absent map[string]string
}

// A Context is the state of one definition while it is evaluated. It is used
// by the goroutine that evaluates.
type Context struct {
	Config
	builder   *plan.Builder
	table     []Builtin // what the definition can call
	artifacts []*Artifact
	tests     []*plan.Node
	params    []*Param
	secrets   []SecretUse
	named     map[string]*plan.Node // artifacts and tests by the name that users type
	disks     map[diskOf]*plan.Node

	reads    []*plan.Node // sources whose pins were read
	hasRead  map[*plan.Node]bool
	failures []error // of calls, at their positions
}

// New returns a Context in which nothing was called yet.
func New(cfg Config) *Context {
	return newContext(cfg, &plan.Builder{})
}

// Within returns a Context with parameters, targets and failures of its own, whose nodes
// are added to the plan of c: a layer of one is a layer of the other.
func (c *Context) Within(cfg Config) *Context { return newContext(cfg, c.builder) }

func newContext(cfg Config, builder *plan.Builder) *Context {
	return &Context{Config: cfg, builder: builder, named: map[string]*plan.Node{}, disks: map[diskOf]*plan.Node{}, hasRead: map[*plan.Node]bool{}}
}

// A Definition is what an evaluated definition says.
type Definition struct {
	Plan      *plan.Plan // gated, not sealed
	Artifacts []Target   // in the order of definition
	Tests     []Target
	Params    []*Param
	Secrets   []SecretUse // that steps use
}

// A Target is a node that users address by name.
type Target struct {
	Name string // unique among artifacts and tests
	Node *plan.Node
}

// Finish returns what was defined. It fails when a call has failed, or a
// parameter was given that the definition does not have.
func (c *Context) Finish() (*Definition, error) {
	if err := c.Failures(); err != nil {
		return nil, err
	}
	if err := c.unknownParam(); err != nil {
		return nil, err
	}
	c.qualify()
	d := &Definition{Plan: c.builder.Plan(), Params: c.params, Secrets: c.secrets}
	d.Plan.Gate()
	for _, a := range c.artifacts {
		d.Artifacts = append(d.Artifacts, Target{Name: a.target, Node: a.node})
	}
	for _, t := range c.tests {
		d.Tests = append(d.Tests, Target{Name: t.Name, Node: t})
	}
	return d, nil
}

// Undefined says what to make of the undefined name of a definition, for
// eval.Config.
func (c *Context) Undefined(name string) string {
	if why, ok := c.Absent[name]; ok {
		return why
	}
	var known []string
	for _, s := range c.Platforms {
		known = append(known, s.Name)
	}
	for absent := range c.Absent {
		known = append(known, absent)
	}
	if near := spell.Nearest(name, known); near != "" {
		sort.Strings(known)
		return fmt.Sprintf("unknown platform, did you mean %s? platforms: %s", near, strings.Join(known, ", "))
	}
	return ""
}

// Plan returns the nodes that were added so far, neither gated nor sealed.
func (c *Context) Plan() *plan.Plan { return c.builder.Plan() }

// ArtifactNamed returns the artifact that users address by name, as a value, or nil. The
// Context has finished.
func (c *Context) ArtifactNamed(name string) *Artifact {
	for _, a := range c.artifacts {
		if a.target == name {
			return a
		}
	}
	return nil
}

// SecretUses returns the secrets that steps use so far.
func (c *Context) SecretUses() []SecretUse { return c.secrets }

// TakeFailures returns the failures after the first n, joined, and forgets them: who
// expects a call to fail has seen them.
func (c *Context) TakeFailures(n int) error {
	err := errors.Join(c.failures[n:]...)
	c.failures = c.failures[:n]
	return err
}

// FailureCount returns how many calls have failed so far.
func (c *Context) FailureCount() int { return len(c.failures) }

// A Call is one call of a builtin.
type Call struct {
	*Context
	Name   string // of the builtin
	thread *starlark.Thread
	given  map[string]starlark.Value
}

// Pos returns the call stack of the definition, innermost first.
func (c *Call) Pos() []plan.Pos { return eval.Stack(c.thread) }

// Thread returns the thread that calls.
func (c *Call) Thread() *starlark.Thread { return c.thread }

// Given reports whether the caller gave the argument called name.
func (c *Call) Given(name string) bool {
	_, ok := c.given[name]
	return ok
}

// Place returns the directory that relative paths are relative to: that of the
// file that calls, or of the nearest caller of the shipped library that is not in
// it. Files of a module are found in its own tree.
func (c *Call) Place() eval.Place {
	for i := range c.thread.CallStackDepth() {
		if place, ok := c.Project.Place(c.thread.CallFrame(i).Pos.Filename()); ok {
			return place
		}
	}
	return c.Project.Top()
}

// Add appends a node to the plan, at the position of the call.
func (c *Call) Add(n *plan.Node) *plan.Node {
	n.Pos = c.Pos()
	return c.builder.Add(n)
}

// Step appends a step on the layer l and returns the layer that it makes. auto
// is the step's name unless the options give one.
func (c *Call) Step(l *Layer, op plan.Op, o StepOptions, auto string) *Layer {
	n := c.Add(&plan.Node{
		Op:       op,
		Platform: l.node.Platform,
		Deps:     []*plan.Node{l.node},
		Name:     o.title(auto),
		Run:      o.run(),
	})
	return &Layer{node: n, platform: l.platform, origin: l.origin}
}
