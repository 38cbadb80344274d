package op

import (
	"context"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// A Shell runs a script that changes the machine.
type Shell struct {
	Command Command `key:"command"`
	// ExpectDisconnect says that the script may end the connection to the
	// machine, as a reboot does.
	ExpectDisconnect bool `key:"-"`
}

// Kind implements plan.Op.
func (*Shell) Kind() string { return "shell" }

// Apply implements plan.Step.
func (s *Shell) Apply(ctx context.Context, m platforms.Machine, env plan.Env) error {
	return s.Command.run(ctx, m, env, s.ExpectDisconnect)
}

// SecretNames returns the names of the secrets that the script uses.
func (s *Shell) SecretNames() []string { return s.Command.secretNames() }
