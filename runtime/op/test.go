package op

import (
	"context"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// A Test runs a script on a throw-away machine; it succeeds when the script
// does.
type Test struct {
	Command Command `key:"command"`
}

// Kind implements plan.Op.
func (*Test) Kind() string { return "test" }

// Check implements plan.Check.
func (t *Test) Check(ctx context.Context, m platforms.Machine, env plan.Env) error {
	return t.Command.Run(ctx, m, env)
}

// SecretNames returns the names of the secrets that the script uses.
func (t *Test) SecretNames() []string { return t.Command.secretNames() }
