package builtins

import (
	"fmt"

	"bake.build/bake/runtime/op"
	"go.starlark.net/starlark"
)

func rebootBuiltin() Builtin {
	return Declare("reboot", `Restarts the machine, waits until it can be used again, and returns its layer.

It is for platforms whose machines have a kernel of their own, such as qemu().`, "layer", reboot)
}

type rebootArgs struct {
	Layer *Layer `bake:"layer,required" help:"The layer whose machine restarts."`
	StepOptions
}

func reboot(c *Call, a *rebootArgs) (starlark.Value, error) {
	if err := c.needsBoot(a.Layer.platform, "cannot be restarted"); err != nil {
		return nil, err
	}
	return c.Step(a.Layer, &op.Reboot{}, a.StepOptions, "reboot"), nil
}

// needsBoot fails for a platform whose machines have no kernel of their own.
func (c *Call) needsBoot(p *Platform, what string) error {
	spec, err := c.spec(p.plan.Name)
	if err != nil {
		return err
	}
	if !spec.Boots {
		return fmt.Errorf("machines of %s have no kernel of their own, and %s", spec.Name, what)
	}
	return nil
}
