package origin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"bake.build/bake/platforms"
)

// copyTree copies the tree from to the empty directory to, with everything
// that a file system can hold. from is read by a process that the calling
// goroutine's thread starts.
func copyTree(ctx context.Context, from, to string, out platforms.Logger) error {
	if info, err := os.Stat(from); err != nil {
		return fmt.Errorf("copy layer: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("copy layer: %s is not a directory", from)
	}
	// Hard links, holes, owners, times, ACLs, capabilities and other extended
	// attributes are all in --archive.
	cmd := exec.CommandContext(ctx, "cp", "--archive", "--reflink=auto", "--sparse=auto", "--", from+"/.", to)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	log := &tail{to: out}
	cmd.Stdout, cmd.Stderr = log, log
	if err := run(cmd); err != nil {
		return fmt.Errorf("copy layer: %w", errors.Join(ctx.Err(), log.explain(err)))
	}
	return stripOverlay(to)
}

// explain adds the last line of the log to the error of the program.
func (t *tail) explain(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.end)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return fmt.Errorf("%s: %w", last, err)
	}
	return err
}
