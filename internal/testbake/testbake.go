// Package testbake compiles the program for tests that run it as users do.
package testbake

import (
	"fmt"
	"os"
	"os/exec"
)

// Build compiles bake, as it is in this checkout, to the file path. It is the static
// program of `make build`, without the race detector: what that has compiled serves
// again, and what runs for minutes runs as quickly as it does for users.
func Build(path string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "bake.build/bake/cmd/bake")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build bake: %w\n%s", err, out)
	}
	return nil
}
