package op

import (
	"encoding/json"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// A Source begins a chain of layers from an origin.
type Source struct {
	Of      string          `key:"origin"`  // the option that names the origin, such as "debian"
	Options json.RawMessage `key:"options"` // canonical JSON, without those in Files and Made
	Files   []SourceFile    `key:"file"`
	Made    []SourceNode    `key:"made"`
}

// A SourceFile is an option that names a local file or directory.
type SourceFile struct {
	Option string      `key:"option"`
	Input  *plan.Input `key:"input"`
}

// A SourceNode is an option that names what another node of the plan makes.
// The place of the result is known when that node is done; see plan.Linker.
type SourceNode struct {
	Option string `key:"option"`
	Dep    int    `key:"dep"` // index in the node's Deps
}

// Kind implements plan.Op.
func (*Source) Kind() string { return "source" }

// Origin implements plan.Source.
func (s *Source) Origin() platforms.Origin {
	o := platforms.Origin{Kind: s.Of, Options: s.Options}
	if len(s.Files) > 0 {
		o.Paths = make(map[string]string, len(s.Files))
	}
	for _, f := range s.Files {
		o.Paths[f.Option] = f.Input.Path
	}
	return o
}

// Inputs implements plan.Reader.
func (s *Source) Inputs() []*plan.Input {
	inputs := make([]*plan.Input, len(s.Files))
	for i, f := range s.Files {
		inputs[i] = f.Input
	}
	return inputs
}

// Links implements plan.Linker.
func (s *Source) Links() map[string]int {
	links := make(map[string]int, len(s.Made))
	for _, m := range s.Made {
		links[m.Option] = m.Dep
	}
	return links
}
