package platformtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"bake.build/bake/platforms"
)

func testFingerprint(t *testing.T, s *suite) {
	a := s.Driver.Fingerprint()
	if a == "" || a != s.Driver.Fingerprint() {
		t.Errorf("%q is empty or changes", a)
	}
}

func testExitCodes(t *testing.T, s *suite) {
	m := s.boot(t)
	if err := m.Run(t.Context(), platforms.Cmd{Args: []string{"true"}}); err != nil {
		t.Errorf("true: %v", err)
	}
	for _, tt := range []struct {
		args   []string
		code   int
		signal bool
	}{
		{[]string{"false"}, 1, false},
		{[]string{"sh", "-c", "exit 42"}, 42, false},
		{[]string{"sh", "-c", "kill -KILL $$"}, -1, true},
		{[]string{"no-such-command"}, 127, false},
	} {
		exit := exitOf(t, m.Run(t.Context(), platforms.Cmd{Args: tt.args}))
		if exit.Code != tt.code || (exit.Signal != "") != tt.signal {
			t.Errorf("%v: %+v, want code %d", tt.args, exit, tt.code)
		}
		if tt.code == 127 && !strings.Contains(exit.Error(), "no-such-command") {
			t.Errorf("%v: the error does not name the command: %v", tt.args, exit)
		}
	}
	if err := m.Run(t.Context(), platforms.Cmd{}); err == nil {
		t.Error("no command gives no error")
	}
}

func testStreams(t *testing.T, s *suite) {
	m := s.boot(t)
	var out, errs buffer
	c := platforms.Cmd{Args: []string{"sh", "-c", "echo one; echo two >&2; exit 3"}, Stdout: &out, Stderr: &errs}
	if exit := exitOf(t, m.Run(t.Context(), c)); exit.Code != 3 {
		t.Errorf("code %d, want 3", exit.Code)
	}
	if out.String() != "one\n" || errs.String() != "two\n" {
		t.Errorf("streams are %q and %q", out.String(), errs.String())
	}
	var both buffer
	c.Stdout, c.Stderr = &both, &both
	exitOf(t, m.Run(t.Context(), c))
	if both.String() != "one\ntwo\n" {
		t.Errorf("in one writer: %q", both.String())
	}
}

func testStdin(t *testing.T, s *suite) {
	m := s.boot(t)
	input := strings.Repeat("line\n", 100_000)
	expect(t, m, "cat", input, func(c *platforms.Cmd) { c.Stdin = strings.NewReader(input) })
	expect(t, m, "cat", "")
	expect(t, m, "true", "", func(c *platforms.Cmd) { c.Stdin = strings.NewReader(input) })
}

func testEnvironment(t *testing.T, s *suite) {
	m := s.boot(t)
	t.Setenv("PLATFORMTEST_HOST", "leaked")
	with := func(c *platforms.Cmd) { c.Env = []string{"A=1", "B=x y", "A=2"} }
	expect(t, m, `echo "$A|$B|$PLATFORMTEST_HOST"`, "2|x y|\n", with)
	expect(t, m, `test -n "$PATH" && test -n "$HOME" && echo set`, "set\n")
}

func testDirectory(t *testing.T, s *suite) {
	m := s.boot(t)
	expect(t, m, "pwd", "/\n")
	expect(t, m, "pwd", "/tmp\n", func(c *platforms.Cmd) { c.Dir = "/tmp" })
	err := m.Run(t.Context(), platforms.Cmd{Args: []string{"true"}, Dir: "/no/such/directory"})
	if err == nil || !strings.Contains(err.Error(), "/no/such/directory") {
		t.Errorf("missing directory: %v", err)
	}
}

func testUser(t *testing.T, s *suite) {
	m := s.boot(t)
	for user, want := range map[string]string{
		"": "0\n0\n", "root": "0\n0\n", "ann": "1000\n1000\n", "1000": "1000\n1000\n", "7:8": "7\n8\n", "ann:0": "1000\n0\n",
	} {
		if got := sh(t, m, "id -u; id -g", func(c *platforms.Cmd) { c.User = user }); got != want {
			t.Errorf("user %q: got %q, want %q", user, got, want)
		}
	}
	err := m.Run(t.Context(), platforms.Cmd{Args: []string{"true"}, User: "nobody-knows"})
	if err == nil || !strings.Contains(err.Error(), "nobody-knows") {
		t.Errorf("unknown user: %v", err)
	}
}

func testFiles(t *testing.T, s *suite) {
	m := s.boot(t)
	with := func(c *platforms.Cmd) {
		c.Files = []platforms.File{
			{Path: "/run/secrets/deep/key", Data: []byte("hush"), Mode: 0o400},
			{Path: "/run/step", Data: []byte("echo from a file\n"), Mode: 0o755},
		}
	}
	expect(t, m, "cat /run/secrets/deep/key; sh /run/step", "hushfrom a file\n", with)
	expect(t, m, "test -e /run/secrets/deep/key || echo gone", "gone\n")
	expect(t, m, "cat /run/own", "mine", func(c *platforms.Cmd) {
		c.User = "ann"
		c.Files = []platforms.File{{Path: "/run/own", Data: []byte("mine"), Mode: 0o400, User: "ann"}}
	})
	other := s.boot(t, s.commit(t, m, "files"))
	expect(t, other, "test -e /run/secrets || test -e /run/step || echo gone", "gone\n")
	for _, path := range []string{"/etc/key", "relative", "/run/../etc/key", "/run"} {
		c := platforms.Cmd{Args: []string{"true"}, Files: []platforms.File{{Path: path, Mode: 0o600}}}
		if err := m.Run(t.Context(), c); err == nil {
			t.Errorf("a file at %q gives no error", path)
		}
	}
}

func testCancel(t *testing.T, s *suite) {
	m := s.boot(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := m.Run(ctx, platforms.Cmd{Args: []string{"sleep", "600"}})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 10*time.Second {
		t.Errorf("Run: %v after %v", err, time.Since(start))
	}
	expect(t, m, "echo on", "on\n")
}

func testCanceledBefore(t *testing.T, s *suite) {
	m := s.boot(t)
	ctx := canceled(t)
	if err := m.Run(ctx, platforms.Cmd{Args: []string{"true"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	if err := m.Write(ctx, "/tmp", pack(t, file("f", "x", 0o644))); !errors.Is(err, context.Canceled) {
		t.Errorf("Write: %v", err)
	}
	if _, err := m.Commit(ctx, platforms.State{Key: "1a", Dir: s.Dir(t), Needed: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit: %v", err)
	}
	if _, err := s.Driver.Boot(ctx, []platforms.Layer{s.First}, TestLog{t}); !errors.Is(err, context.Canceled) {
		t.Errorf("Boot: %v", err)
	}
}

func testCaches(t *testing.T, s *suite) {
	with := func(c *platforms.Cmd) {
		c.Caches = []platforms.Cache{{ID: "platformtest/a", Dir: "/var/cache/a"}, {ID: "platformtest/b", Dir: "/var/cache/b"}}
	}
	m := s.boot(t)
	sh(t, m, "echo kept > /var/cache/a/f", with)
	expect(t, m, "test -e /var/cache/b/f || echo apart", "apart\n", with)
	expect(t, m, "test -e /var/cache/a/f || echo hidden", "hidden\n")
	other := s.boot(t, s.commit(t, m, "caches"))
	expect(t, other, "test -e /var/cache/a/f || echo no part of the layer", "no part of the layer\n")
	expect(t, other, "cat /var/cache/a/f", "kept\n", with)
}

func testCachesTakeTurns(t *testing.T, s *suite) {
	// Each finds the cache as no other is using it.
	script := "test -e /c/busy && exit 1; echo x > /c/busy; sleep 0.05; rm /c/busy"
	ended := make(chan error)
	const n = 4
	var machines []platforms.Machine
	for i := range n {
		m := s.boot(t)
		machines = append(machines, m)
		caches := []platforms.Cache{{ID: "turns-1", Dir: "/c"}, {ID: "turns-2", Dir: "/d"}}
		if i%2 == 1 { // the other way round
			caches[0], caches[1] = caches[1], caches[0]
		}
		go func() {
			ended <- m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-c", script}, Caches: caches})
		}()
	}
	for range n {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	m, other := machines[0], machines[1]
	held := make(chan error)
	caches := []platforms.Cache{{ID: "turns-1", Dir: "/c"}}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		held <- m.Run(ctx, platforms.Cmd{Args: []string{"sh", "-c", "echo x > /c/held; sleep 600"}, Caches: caches})
	}()
	var waits, overs int
	told := func(what string) func() {
		if waits++; !strings.Contains(what, "cache") {
			t.Errorf("waiting for %q", what)
		}
		return func() { overs++ }
	}
	waiting, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	time.Sleep(150 * time.Millisecond)
	if err := other.Run(waiting, platforms.Cmd{Args: []string{"true"}, Caches: caches, Waiting: told}); !errors.Is(err, context.DeadlineExceeded) || waits != 1 || overs != 1 {
		t.Errorf("waiting for a cache: %v; told %d times, ended %d times", err, waits, overs)
	}
	cancel()
	if err := <-held; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func testNoNetwork(t *testing.T, s *suite) {
	if s.NoIsolation {
		t.Skip("this platform has no isolation from the network")
	}
	m := s.boot(t)
	expect(t, m, "grep -c -v Iface /proc/net/route || true", "0\n", func(c *platforms.Cmd) { c.NoNetwork = true })
}
