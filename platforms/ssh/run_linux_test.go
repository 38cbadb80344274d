package ssh

import (
	"os"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testsshd"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

func TestConformance(t *testing.T) {
	need.Root(t) // not in a check of the suite, which would be of another test
	need.Tool(t, testsshd.Tools...)
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/up", 0o755); err != nil {
		t.Fatal(err)
	}
	platformtest.Run(t, platformtest.Harness{
		Driver: driver{t},
		First:  platforms.Layer{Key: "00", Dir: dir},
		Dir:    func(t *testing.T) string { return t.TempDir() },
	})
}

func TestOddValues(t *testing.T) {
	m := newServer(t, "").connect()
	odd := "a'b\"c\\n$HOME\n\n* `x`\n"
	for name, got := range map[string]string{
		"environment": run(t, m, `printf %s "$ODD"`, func(c *platforms.Cmd) { c.Env = []string{"ODD=" + odd} }),
		"argument":    run(t, m, `printf %s "$1"`, func(c *platforms.Cmd) { c.Args = append(c.Args, "sh", odd) }),
		"file":        run(t, m, `cat /run/odd`, func(c *platforms.Cmd) { c.Files = []platforms.File{{Path: "/run/odd", Data: []byte(odd), Mode: 0o400}} }),
	} {
		if got != odd {
			t.Errorf("%s: %q", name, got)
		}
	}
	binary := make([]byte, 70<<10)
	for i := range binary {
		binary[i] = byte(i * 7)
	}
	for _, size := range []int{0, 300, len(binary)} {
		got := run(t, m, `cat /run/x/binary`, func(c *platforms.Cmd) {
			c.Files = []platforms.File{{Path: "/run/x/binary", Data: binary[:size:size], Mode: 0o400}}
		})
		if got != string(binary[:size]) {
			t.Errorf("a file of %d bytes: %d came", size, len(got))
		}
	}
}

// TestNothingOnCommandLines looks at all command lines of the machine while a
// command with a secret runs.
func TestNothingOnCommandLines(t *testing.T) {
	m := newServer(t, "").connect()
	const secret = "correct-horse-battery"
	got := run(t, m, `cat /run/secret; cat /proc/*/cmdline | tr '\0' ' '`, func(c *platforms.Cmd) {
		c.Env = []string{"SECRET=" + secret}
		c.Files = []platforms.File{{Path: "/run/secret", Data: []byte(secret), Mode: 0o400}}
		c.Stdin = strings.NewReader(secret)
	})
	rest, ok := strings.CutPrefix(got, secret)
	if !ok || strings.Contains(rest, secret) || !strings.Contains(rest, "sshd") {
		t.Errorf("got %q", got)
	}
}
