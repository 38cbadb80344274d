package builtins

import (
	"fmt"
	"hash/fnv"

	"bake.build/bake/internal/spell"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

var (
	_ starlark.HasAttrs = (*Layer)(nil)
	_ starlark.HasAttrs = (*Artifact)(nil)
	_ starlark.HasAttrs = (*Platform)(nil)
)

// A Layer is the immutable state of a machine's disk, as a value.
type Layer struct {
	node     *plan.Node
	platform *Platform
}

// Node returns the node that makes the layer.
func (l *Layer) Node() *plan.Node { return l.node }

func (l *Layer) String() string        { return fmt.Sprintf("layer(%q)", l.node.Name) }
func (l *Layer) Type() string          { return "layer" }
func (l *Layer) Freeze()               {}
func (l *Layer) Truth() starlark.Bool  { return true }
func (l *Layer) Hash() (uint32, error) { return uint32(l.node.ID)*2654435761 + 1, nil }

// AttrNames implements starlark.HasAttrs.
func (l *Layer) AttrNames() []string { return []string{"name", "platform"} }

// Attr implements starlark.HasAttrs.
func (l *Layer) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(l.node.Name), nil
	case "platform":
		return l.platform, nil
	}
	return nil, noAttr(l, name)
}

// An Artifact is what export returns, as a value.
type Artifact struct {
	node    *plan.Node
	layer   *Layer
	name    string   // as the definition gives it
	target  string   // as users address it: name, or name@platform
	formats []string // of its files
}

func (a *Artifact) String() string        { return fmt.Sprintf("artifact(%q)", a.name) }
func (a *Artifact) Type() string          { return "artifact" }
func (a *Artifact) Freeze()               {}
func (a *Artifact) Truth() starlark.Bool  { return true }
func (a *Artifact) Hash() (uint32, error) { return uint32(a.node.ID)*2654435761 + 2, nil }

// AttrNames implements starlark.HasAttrs.
func (a *Artifact) AttrNames() []string { return []string{"formats", "name"} }

// Attr implements starlark.HasAttrs.
func (a *Artifact) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(a.name), nil
	case "formats":
		t := make(starlark.Tuple, len(a.formats))
		for i, f := range a.formats {
			t[i] = starlark.String(f)
		}
		return t, nil
	}
	return nil, noAttr(a, name)
}

// A Platform is where machines run and images live, as a value.
type Platform struct {
	plan *plan.Platform
}

func (p *Platform) String() string       { return fmt.Sprintf("%s(%s)", p.plan.Name, p.plan.Options) }
func (p *Platform) Type() string         { return "platform" }
func (p *Platform) Freeze()              {}
func (p *Platform) Truth() starlark.Bool { return true }

// Hash implements starlark.Value.
func (p *Platform) Hash() (uint32, error) {
	h := fnv.New32a()
	h.Write([]byte(p.plan.ID()))
	return h.Sum32(), nil
}

// AttrNames implements starlark.HasAttrs.
func (p *Platform) AttrNames() []string { return []string{"name"} }

// Attr implements starlark.HasAttrs.
func (p *Platform) Attr(name string) (starlark.Value, error) {
	if name == "name" {
		return starlark.String(p.plan.Name), nil
	}
	return nil, noAttr(p, name)
}

func noAttr(v starlark.HasAttrs, name string) error {
	return starlark.NoSuchAttrError(fmt.Sprintf("a %s has no attribute %q%s", v.Type(), name, spell.Hint(name, "attributes", v.AttrNames())))
}
