package op

import (
	"context"
	"errors"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// A Reboot restarts the machine.
type Reboot struct{}

// Kind implements plan.Op.
func (*Reboot) Kind() string { return "reboot" }

// Apply implements plan.Step.
func (*Reboot) Apply(ctx context.Context, m platforms.Machine, _ plan.Env) error {
	r, ok := m.(platforms.Rebooter)
	if !ok {
		return errors.New("this platform's machines cannot be restarted")
	}
	return r.Reboot(ctx)
}
