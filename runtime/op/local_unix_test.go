//go:build unix

package op

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// applyLocal applies l in a directory that is looked at afterwards, and returns what the
// program wrote.
func applyLocal(t *testing.T, l *Local, m *machine) (string, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "step")
	env := environment()
	env.TempDir = func(string) (string, func() error, error) {
		return dir, func() error { return os.RemoveAll(dir) }, os.Mkdir(dir, 0o700)
	}
	err := l.Apply(t.Context(), m, env)
	if _, statErr := os.Stat(dir); !errors.Is(statErr, os.ErrNotExist) {
		t.Errorf("the directory of the step is left: %v", statErr)
	}
	return env.Out.(*logger).String(), err
}

func sealed(t *testing.T, path string) *plan.Input {
	t.Helper()
	in := &plan.Input{Path: path}
	if err := in.Hash(t.Context(), plan.HashFile{}); err != nil {
		t.Fatal(err)
	}
	return in
}

func TestLocal(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"site/run.sh": "echo from a file", "site/sub/x": "x", "motd": "hello\n", "more/run.sh": ""} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o500)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sub/x", filepath.Join(dir, "site/link")); err != nil {
		t.Fatal(err)
	}
	site := CopyFrom{Input: sealed(t, filepath.Join(dir, "site"))}
	motd := CopyFrom{Name: "motd", Input: sealed(t, filepath.Join(dir, "motd"))}
	changed := CopyFrom{Name: "motd", Input: sealed(t, filepath.Join(dir, "motd"))}
	changed.Input.Digest = "other"
	for _, c := range []struct {
		name      string
		local     Local
		want, err string
	}{
		{"files", Local{Command: Command{Script: "ls; cat link motd; ./run.sh; echo more >>motd; echo $1", Args: []string{"a b"}}, Files: []CopyFrom{site, motd}},
			"link\nmotd\nrun.sh\nsub\nxhello\nfrom a file\na b\n", ""},
		{"interpreter", Local{Command: Command{Script: "#!/bin/cat\nhello\n"}}, "#!/bin/cat\nhello\n", ""},
		{"environment", Local{Command: Command{Script: "echo $A $TOKEN", Env: map[string]string{"A": "a"}, Secrets: []Secret{{Name: "token", Env: "TOKEN"}}}}, "a s3cret\n", ""},
		{"no secret", Local{Command: Command{Script: "echo on", Secrets: []Secret{{Name: "other", Env: "TOKEN"}}}}, "", "no secret"},
		{"status", Local{Command: Command{Script: "exit 3"}}, "", "exit status 3"},
		{"valid status", Local{Command: Command{Script: "exit 3", ExitCodes: []int{3}}}, "", ""},
		{"stops at an error", Local{Command: Command{Script: "false\necho on"}}, "", "exit status 1"},
		{"one name twice", Local{Command: Command{Script: "echo on"}, Files: []CopyFrom{site, {Input: sealed(t, filepath.Join(dir, "more"))}}}, "", "run.sh: two of the files have this name"},
		{"a changed file", Local{Command: Command{Script: "echo on"}, Files: []CopyFrom{changed}}, "", "changed since the plan was made"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := applyLocal(t, &c.local, new(machine))
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %q, %v, want %q, %q", got, err, c.want, c.err)
			}
		})
	}
	if text, err := os.ReadFile(filepath.Join(dir, "motd")); err != nil || !bytes.Equal(text, []byte("hello\n")) {
		t.Errorf("the project's file is %q, %v", text, err)
	}
}

// TestLocalTellsOfSecrets holds that a machine knows when a client of it has secrets.
func TestLocalTellsOfSecrets(t *testing.T) {
	l := &Local{Command: Command{Script: "true", Secrets: []Secret{{Name: "token", Env: "TOKEN"}}}}
	c, err := l.lay(t.Context(), t.TempDir(), environment())
	if err != nil || !c.Secret {
		t.Errorf("secret is %v, %v", c.Secret, err)
	}
	if err := (&Local{Command: Command{Script: "true", Secrets: []Secret{{Name: "token", Path: "/run/token"}}}}).Check(); err == nil {
		t.Error("a secret in a file was accepted")
	}
}

var _ platforms.Machine = (*machine)(nil)
