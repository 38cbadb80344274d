package builtins

import (
	"fmt"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

// Pins are what the sources of a definition resolved to, by SourceID. A source
// that needs no pin has the zero Pin.
type Pins map[string]platforms.Pin

// SourceID names what the pin of the source n follows from. It is the same for
// the same source in the next evaluation of a definition.
func SourceID(n *plan.Node) string {
	s, ok := n.Op.(*op.Source)
	if !ok {
		return ""
	}
	id := n.Platform.ID() + "\x00" + s.Of + "\x00" + string(s.Options)
	for _, f := range s.Files {
		id += "\x00" + f.Option + "=" + f.Input.Path
	}
	return id
}

// Reads returns the sources whose pins the definition has read, each once.
func (c *Context) Reads() []*plan.Node { return c.reads }

// Stale reports whether the definition has read a pin that is not what now
// says: it has to be evaluated again, with now as its Config.Pins.
func (c *Context) Stale(now Pins) bool {
	for _, n := range c.reads {
		id := SourceID(n)
		was, known := c.Pins[id]
		is, pinned := now[id]
		if pinned && (!known || was.ID != is.ID) {
			return true
		}
	}
	return false
}

// readPin returns the pin of the source n; ok is false while nobody knows it.
func (c *Context) readPin(n *plan.Node) (pin platforms.Pin, ok bool) {
	if !c.hasRead[n] {
		c.hasRead[n] = true
		c.reads = append(c.reads, n)
	}
	pin, ok = c.Pins[SourceID(n)]
	return pin, ok
}

// An Origin is what a chain of layers begins with, as a value.
type Origin struct {
	ctx  *Context
	node *plan.Node // the source
	name string
}

var _ starlark.HasAttrs = (*Origin)(nil)

func (o *Origin) String() string        { return fmt.Sprintf("origin(%q)", o.name) }
func (o *Origin) Type() string          { return "origin" }
func (o *Origin) Freeze()               {}
func (o *Origin) Truth() starlark.Bool  { return true }
func (o *Origin) Hash() (uint32, error) { return starlark.String(SourceID(o.node)).Hash() }

// AttrNames implements starlark.HasAttrs.
func (o *Origin) AttrNames() []string { return []string{"date", "detail", "kind", "name", "pin"} }

// unpinned stands for the pin of a source that was not resolved yet. The
// definition is evaluated again as soon as it was.
const unpinned = "unpinned"

// Attr implements starlark.HasAttrs.
func (o *Origin) Attr(name string) (starlark.Value, error) {
	switch name {
	case "kind":
		return starlark.String(o.node.Op.(*op.Source).Of), nil
	case "name":
		return starlark.String(o.name), nil
	case "pin":
		pin, ok := o.ctx.readPin(o.node)
		if !ok {
			return starlark.String(unpinned), nil
		}
		return starlark.String(pin.ID), nil
	case "date":
		pin, _ := o.ctx.readPin(o.node)
		return starlark.String(pin.Date), nil
	case "detail":
		pin, _ := o.ctx.readPin(o.node)
		d := starlark.NewDict(len(pin.Detail))
		for _, k := range sortedKeys(pin.Detail) {
			if err := d.SetKey(starlark.String(k), starlark.String(pin.Detail[k])); err != nil {
				return nil, err
			}
		}
		d.Freeze()
		return d, nil
	}
	return nil, nil
}

// originOfChain returns what the chain of a new source begins with: where it
// starts from what this definition makes, the origin of that.
func (c *Call) originOfChain(n *plan.Node, name string, from starlark.Value) *Origin {
	switch v := from.(type) {
	case *Layer:
		return v.origin
	case *Artifact:
		return v.layer.origin
	}
	return &Origin{ctx: c.Context, node: n, name: name}
}
