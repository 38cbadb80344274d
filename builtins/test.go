package builtins

import (
	"fmt"

	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

func testBuiltin() Builtin {
	return Declare("test", `Runs a script on a throw-away machine that is made from a layer, and fails the build when the script fails.

The layer does not change. Steps on the tested layer and artifacts that are made of it wait for the test.`, "None", test)
}

type testArgs struct {
	Layer starlark.Value `arg:"layer,required" help:"The layer to test."`
	commandArgs
	StepOptions
}

func test(c *Call, a *testArgs) (starlark.Value, error) {
	var layer *Layer
	switch v := a.Layer.(type) {
	case *Layer:
		layer = v
	case *Artifact:
		return nil, fmt.Errorf("layer: the platform %s cannot launch an artifact: test the layer that was exported", v.layer.platform.plan.Name)
	default:
		return nil, fmt.Errorf("layer: %w", wrongType(v, "layer"))
	}
	cmd, title, err := a.data(c)
	if err != nil {
		return nil, err
	}
	name := a.title("test: " + title)
	if a.Name == "" {
		name = c.freeName(name)
	} else if err := c.checkName(name); err != nil {
		return nil, err
	}
	n := c.Add(&plan.Node{
		Op:       &op.Test{Command: cmd},
		Platform: layer.node.Platform,
		Deps:     []*plan.Node{layer.node},
		Name:     name,
		Run:      a.run(),
	})
	c.named[name] = n
	c.tests = append(c.tests, n)
	return starlark.None, nil
}

// checkName fails when the name is another artifact's or test's.
func (c *Call) checkName(name string) error {
	if other, ok := c.named[name]; ok {
		return fmt.Errorf("the name %q is taken by the %s at %s", name, other.Op.Kind(), other.Pos[0])
	}
	return nil
}

// freeName returns name, with a number when it is taken.
func (c *Call) freeName(name string) string {
	free := name
	for i := 2; c.named[free] != nil; i++ {
		free = fmt.Sprintf("%s (%d)", name, i)
	}
	return free
}
