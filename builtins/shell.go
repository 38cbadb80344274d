package builtins

import (
	"fmt"

	"bake.build/bake/runtime/op"
	"go.starlark.net/starlark"
)

func shellBuiltin() Builtin {
	return Declare("shell", `Runs a command or a script in the machine and returns the layer that it leaves.

Where the same step ran before on an equal layer, its layer is taken from the cache. What a script writes to /dev, /proc, /sys and /run is no part of the layer. On rootfs() a script finds the host's name servers in /etc/resolv.conf and its names in /etc/hosts: what it makes of these files stays, what bake put there goes. systemctl enables and disables units there, and only notes what would start or stop one.`,
		"layer", shell)
}

type shellArgs struct {
	Layer *Layer `bake:"layer,required" help:"The layer to change."`
	commandArgs
	ExpectDisconnect bool `bake:"expect_disconnect,keyword" help:"The script may end the connection to the machine, as a reboot does. For platforms whose machines have a kernel of their own, such as qemu()." default:"False"`
	StepOptions
}

func shell(c *Call, a *shellArgs) (starlark.Value, error) {
	cmd, title, err := a.data(c)
	if err != nil {
		return nil, err
	}
	if a.ExpectDisconnect {
		if err := c.needsBoot(a.Layer.platform, "nothing can end the connection to them"); err != nil {
			return nil, fmt.Errorf("expect_disconnect: %w", err)
		}
	}
	return c.Step(a.Layer, &op.Shell{Command: cmd, ExpectDisconnect: a.ExpectDisconnect}, a.StepOptions, "shell: "+title), nil
}
