package rootfs_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
)

// TestSharedNumber has a user of the host look into the processes of a step that
// runs as a user with the same number.
func TestSharedNumber(t *testing.T) {
	f := newFixture(t, "")
	need.Tool(t, "setpriv", "pgrep")
	m := f.boot(t)
	const uid = 61234 // of no user here: a number is all that counts
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- m.Run(ctx, platforms.Cmd{
			Args:  []string{"sh", "-c", "exec sleep 600"},
			Env:   []string{"TOKEN=tiger"},
			User:  fmt.Sprintf("%[1]d:%[1]d", uid),
			Files: []platforms.File{{Path: "/run/secret", Data: []byte("tiger"), Mode: 0o400, User: fmt.Sprint(uid)}},
		})
	}()
	var dir string
	eventually(t, "the step runs", func() bool {
		out, err := exec.Command("pgrep", "-u", fmt.Sprint(uid), "-f", "^sleep 600").Output()
		dir = filepath.Join("/proc", strings.TrimSpace(string(out)))
		return err == nil
	})
	for _, script := range []string{"cat environ", "cat root/run/secret", "ls root/", "cat <fd/0", "cat maps", "ls cwd/", "head -c 1 mem"} {
		cmd := exec.Command("setpriv", "--reuid", fmt.Sprint(uid), "--regid", fmt.Sprint(uid), "--clear-groups", "sh", "-c", "cd "+dir+" && "+script)
		out, err := cmd.CombinedOutput()
		if err == nil || strings.Contains(string(out), "tiger") || !strings.Contains(strings.ToLower(string(out)), "permission denied") {
			t.Errorf("%s: %v: %s", script, err, out)
		}
	}
	cancel()
	<-ended
	if out, err := sh(m, "grep CapEff /proc/self/status | cut -f2", func(c *platforms.Cmd) { c.User = "ann" }); err != nil || out != "0000000000000400" {
		t.Errorf("a step as a user: %v: %s", err, out)
	}
}
