package hypervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/need"
)

// program writes a script of POSIX shell and returns a Caller of it.
func program(t *testing.T, script string) Caller {
	t.Helper()
	need.Tool(t, "sh")
	path := filepath.Join(t.TempDir(), "vm")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	token := regexp.MustCompile(`\bVM_[A-Z_]+\b`)
	return Caller{
		Program: path, Code: func(s string) string { return token.FindString(s) },
		Busy: func(e *CallError) bool { return e.Code == "VM_LOCKED" },
	}
}

// TestCall has a program end in each way.
func TestCall(t *testing.T) {
	for name, c := range map[string]struct {
		script, stdout, fails, code string
		exit                        int
	}{
		"fine":           {script: `echo "$1 $LC_ALL"; echo progress >&2`, stdout: "list C.UTF-8\n"},
		"an error":       {script: "echo 0%...VM_E; echo 'vm: error: no disk' >&2; echo 'vm: error: Details: code VM_NOT_FOUND, x' >&2; exit 1", fails: "vm list: no disk (VM_E)", code: "VM_E", exit: 1, stdout: "0%...VM_E\n"},
		"only a line":    {script: "echo what; echo bad luck >&2; exit 3", fails: "vm list: bad luck", exit: 3, stdout: "what\n"},
		"not a word":     {script: "exit 2", fails: "vm list: exit status 2", exit: 2},
		"on stdout":      {script: "echo 'Error: Unable to connect to host'; exit 255", fails: "vm list: Unable to connect to host", exit: 255, stdout: "Error: Unable to connect to host\n"},
		"a service":      {script: "sleep 60 & echo done", stdout: "done\n"},
		"ended":          {script: "kill -SEGV $$", fails: "vm list: signal: segmentation fault", exit: -1},
		"much":           {script: "i=0; while [ $i -lt 600 ]; do head -c 10000 /dev/zero; i=$((i+1)); done", stdout: strings.Repeat("\x00", answerMost)},
		"nothing to run": {script: "exit 127", fails: "vm list: exit status 127", exit: 127},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caller := program(t, c.script)
			caller.Patience = time.Millisecond
			out, err := caller.Call(t.Context(), "list", "secret")
			if out != c.stdout {
				t.Errorf("stdout %.80q of %d bytes", out, len(out))
			}
			if c.fails == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			e := (*CallError)(nil)
			if !errors.As(err, &e) || err.Error() != c.fails && !strings.HasPrefix(err.Error(), c.fails) || e.Code != c.code || e.Exit != c.exit {
				t.Errorf("%v, %+v", err, e)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows an argument: %v", err)
			}
		})
	}
	if _, err := (Caller{Program: "/nowhere/vm"}).Call(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "start vm: ") {
		t.Errorf("a program that is not there: %v", err)
	}
}

// TestCallHangs ends a program that does not answer, with what it has started.
func TestCallHangs(t *testing.T) {
	child := filepath.Join(t.TempDir(), "child")
	c := program(t, fmt.Sprintf("sleep 600 & echo $! >%s; wait", child)).Within(300 * time.Millisecond)
	_, err := c.Call(t.Context(), "list")
	e := (*CallError)(nil)
	if !errors.As(err, &e) || !e.Timeout() || err.Error() != "vm list: no answer within 300ms; it was ended" {
		t.Fatal(err)
	}
	pid, err := os.ReadFile(child)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		state, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "stat"))
		if err != nil || strings.Contains(string(state), ") Z ") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("what the program has started goes on")
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(200*time.Millisecond, func() { cancel(errors.New("enough")) })
	if _, err := program(t, "sleep 600").Call(ctx, "list"); err == nil || err.Error() != "enough" {
		t.Errorf("cancelled: %v", err)
	}
}

// TestCallLocked tries again as long as something is locked, and not for ever.
func TestCallLocked(t *testing.T) {
	tries := filepath.Join(t.TempDir(), "tries")
	c := program(t, fmt.Sprintf(`echo x >>%[1]s
[ "$(grep -c x %[1]s)" -gt 3 ] && { echo made; exit 0; }
echo "vm: error: VM_LOCKED by a session" >&2; exit 1`, tries))
	if out, err := c.Call(t.Context(), "change"); err != nil || out != "made\n" {
		t.Errorf("%q, %v", out, err)
	}
	c = program(t, `echo "vm: error: VM_LOCKED by a session" >&2; exit 1`)
	c.Patience = 500 * time.Millisecond
	if _, err := c.Call(t.Context(), "change"); !hasCode(err, "VM_LOCKED") {
		t.Errorf("locked for ever: %v", err)
	}
	c = program(t, "echo 'code VM_ODD' >&2")
	c.Said = func(_ []string, _, stderr string) error {
		if strings.Contains(stderr, "VM_") {
			return errors.New("it failed with exit code 0")
		}
		return nil
	}
	if _, err := c.Call(t.Context(), "change"); !hasCode(err, "VM_ODD") {
		t.Errorf("a failure with exit code 0: %v", err)
	}
}

// hasCode reports whether err is of a program that names the token.
func hasCode(err error, code string) bool {
	e := (*CallError)(nil)
	return errors.As(err, &e) && e.Code == code
}
