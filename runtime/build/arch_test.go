package build

import (
	"encoding/json"
	"testing"

	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
)

func TestArchOf(t *testing.T) {
	source := func(options string, deps ...*plan.Node) *plan.Node {
		return &plan.Node{Op: &op.Source{Of: "debian", Options: json.RawMessage(options)}, Deps: deps}
	}
	step := func(n *plan.Node) *plan.Node { return &plan.Node{Op: &op.Write{}, Deps: []*plan.Node{n}} }
	for what, c := range map[string]struct {
		n    *plan.Node
		want string
	}{
		"host's":         {step(source(`{"debian":"bookworm"}`)), ""},
		"given":          {step(step(source(`{"arch":"arm64","debian":"bookworm"}`))), "arm64"},
		"Debian's name":  {source(`{"arch":"armhf"}`), "arm"},
		"of another":     {step(source(`{}`, step(source(`{"arch":"i386"}`)))), "386"},
		"no options":     {source(``), ""},
		"of an artifact": {source(`{}`, &plan.Node{Op: &op.Test{}, Deps: []*plan.Node{source(`{"arch":"ppc64el"}`)}}), "ppc64le"},
	} {
		if got := archOf(c.n); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}
