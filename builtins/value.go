package builtins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

var (
	_ starlark.HasAttrs = (*Layer)(nil)
	_ starlark.HasAttrs = (*Artifact)(nil)
	_ starlark.HasAttrs = (*Platform)(nil)

	_ starlark.Comparable = (*Platform)(nil)
)

// KindName implements platforms.KindNamer, for arguments.
func (*Layer) KindName() string { return "layer" }

// KindName implements platforms.KindNamer, for arguments.
func (*Artifact) KindName() string { return "artifact" }

// KindName implements platforms.KindNamer, for arguments.
func (*Platform) KindName() string { return "platform" }

// A Layer is the immutable state of a machine's disk, as a value.
type Layer struct {
	node     *plan.Node
	platform *Platform
	origin   *Origin // of the chain
}

// Node returns the node that makes the layer.
func (l *Layer) Node() *plan.Node { return l.node }

func (l *Layer) String() string        { return fmt.Sprintf("layer(%q)", l.node.Name) }
func (l *Layer) Type() string          { return "layer" }
func (l *Layer) Freeze()               {}
func (l *Layer) Truth() starlark.Bool  { return true }
func (l *Layer) Hash() (uint32, error) { return uint32(l.node.ID)*2654435761 + 1, nil }

// AttrNames implements starlark.HasAttrs.
func (l *Layer) AttrNames() []string { return []string{"name", "origin", "platform"} }

// Attr implements starlark.HasAttrs.
func (l *Layer) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(l.node.Name), nil
	case "platform":
		return l.platform, nil
	case "origin":
		return l.origin, nil
	}
	return nil, nil
}

// An Artifact is what export returns, as a value.
type Artifact struct {
	node    *plan.Node
	layer   *Layer
	on      *Platform // where it is an image; nil when it is files
	name    string    // as the definition gives it
	target  string    // as users address it: name, or name@platform
	formats []string  // of its files
}

// Node returns the node that makes the artifact.
func (a *Artifact) Node() *plan.Node { return a.node }

// platform returns the platform that tells the artifact from others of its name.
func (a *Artifact) platform() *Platform {
	if a.on != nil {
		return a.on
	}
	return a.layer.platform
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
	return nil, nil
}

// A Platform is where machines run and images live, as a value.
type Platform struct {
	plan *plan.Platform
}

func (p *Platform) Type() string         { return "platform" }
func (p *Platform) Freeze()              {}
func (p *Platform) Truth() starlark.Bool { return true }

// String shows the call that makes the platform.
func (p *Platform) String() string { return ShowPlatform(p.plan) }

// ShowPlatform returns the call that makes a platform.
func ShowPlatform(p *plan.Platform) string {
	var args []string
	if p.Label != "" {
		args = append(args, fmt.Sprintf("%s = %q", labelOption, p.Label))
	}
	if options := showOptions(p.Options); options != "" {
		args = append(args, options)
	}
	return p.Name + "(" + strings.Join(args, ", ") + ")"
}

// showOptions returns options, given as JSON, as the keywords of a call.
func showOptions(options json.RawMessage) string {
	var args []string
	d := json.NewDecoder(bytes.NewReader(options))
	for {
		name, err := d.Token()
		if err != nil {
			break
		}
		if key, ok := name.(string); ok {
			var value json.RawMessage
			if d.Decode(&value) != nil {
				break
			}
			args = append(args, fmt.Sprintf("%s = %s", key, value))
		}
	}
	return strings.Join(args, ", ")
}

// Hash implements starlark.Value.
func (p *Platform) Hash() (uint32, error) {
	h := fnv.New32a()
	h.Write([]byte(p.plan.ID()))
	return h.Sum32(), nil
}

// CompareSameType implements starlark.Comparable: platforms are equal when
// their names and options are.
func (p *Platform) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	same := p.plan.ID() == y.(*Platform).plan.ID()
	switch op {
	case syntax.EQL:
		return same, nil
	case syntax.NEQ:
		return !same, nil
	}
	return false, errors.New("platforms have no order")
}

// AttrNames implements starlark.HasAttrs.
func (p *Platform) AttrNames() []string { return []string{"name"} }

// Attr implements starlark.HasAttrs.
func (p *Platform) Attr(name string) (starlark.Value, error) {
	if name == "name" {
		return starlark.String(p.plan.Name), nil
	}
	return nil, nil
}
