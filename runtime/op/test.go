package op

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// A Test looks at a throw-away machine: what its console shows, which ports it
// listens on, and what a script finds in it. It succeeds when all of them do.
type Test struct {
	Command Command `key:"command"` // without a script nobody logs in to an artifact's machine
	Ports   []int   `key:"ports"`   // TCP ports that accept connections
	Console string  `key:"console"` // a regular expression that a line of the console matches

	// How an artifact is launched; see plan.Launch.
	Format string `key:"format"`
	UEFI   bool   `key:"uefi"`
}

// Kind implements plan.Op.
func (*Test) Kind() string { return "test" }

// Launch implements plan.Launcher.
func (t *Test) Launch() plan.Launch {
	return plan.Launch{Format: t.Format, UEFI: t.UEFI, NoLogin: t.Command.Script == ""}
}

// Check implements plan.Check.
func (t *Test) Check(ctx context.Context, m platforms.Machine, env plan.Env) error {
	if t.Console != "" {
		if err := waitConsole(ctx, m, t.Console); err != nil {
			return err
		}
	}
	for _, port := range t.Ports {
		w, ok := m.(platforms.PortWaiter)
		if !ok {
			return errors.New("expect_port: the ports of this platform's machines cannot be looked at")
		}
		if err := w.WaitPort(ctx, port); err != nil {
			return fmt.Errorf("expect_port: %w", err)
		}
	}
	if t.Command.Script == "" {
		return nil
	}
	return t.Command.Run(ctx, m, env)
}

func waitConsole(ctx context.Context, m platforms.Machine, pattern string) error {
	c, ok := m.(platforms.Consoler)
	if !ok {
		return errors.New("expect_console: this platform's machines have no console")
	}
	match, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("expect_console: %w", err)
	}
	if err := c.WaitConsole(ctx, match); err != nil {
		text := fmt.Sprintf("expect_console: no line matched %q", pattern)
		for i, line := range c.ConsoleTail() {
			if i == 0 {
				text += "; the console's last lines:"
			}
			text += "\n  " + line
		}
		return fmt.Errorf("%s: %w", text, err)
	}
	return nil
}

// SecretNames returns the names of the secrets that the script uses.
func (t *Test) SecretNames() []string { return t.Command.secretNames() }
