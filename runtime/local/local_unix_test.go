//go:build unix

package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
)

// A thisHost is a machine whose commands run on this host, as whoever runs the test.
type thisHost struct {
	platforms.Machine

	mu      sync.Mutex
	running int
	cmds    []platforms.Cmd
}

func (m *thisHost) Run(ctx context.Context, c platforms.Cmd) error {
	m.mu.Lock()
	m.running++
	m.cmds = append(m.cmds, c)
	turns := m.running == 1
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.running--
		m.mu.Unlock()
	}()
	if !turns {
		return errors.New("two commands run at once")
	}
	if c.User == "nobody-here" {
		return errors.New("no such user")
	}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = append(os.Environ(), c.Env...), c.Stdout, c.Stderr, time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(in, c.Stdin) // a command need not read its input
		in.Close()
	}()
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return &platforms.ExitError{Code: exit.ExitCode()}
	}
	return err
}

// ran returns the commands that ran so far.
func (m *thisHost) ran() []platforms.Cmd {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cmds
}

// run runs a script of sh by Run and returns what it wrote.
func run(t *testing.T, m *thisHost, script string, change func(c *Cmd)) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := Cmd{Args: []string{"sh", "-ec", script}, Dir: t.TempDir(), Keys: t.TempDir(), Out: &out}
	if change != nil {
		change(&c)
	}
	err := Run(t.Context(), m, c)
	if t.Failed() || err != nil {
		t.Logf("%v; output:\n%s", err, out.String())
	}
	return out.String(), err
}

// in is how a script runs something in the machine.
const in = `machine() { ssh -F "$BAKE_SSH_CONFIG" machine "$@"; }
`

func TestCommands(t *testing.T) {
	need.Tool(t, "ssh")
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ script, want string }{
		"output":     {`machine 'echo out; echo err >&2' 2>&1`, "out\nerr\n"},
		"status":     {`machine 'exit 7' || echo $?`, "7\n"},
		"input":      {`echo hello | machine cat`, "hello\n"},
		"no input":   {`machine cat </dev/null; echo over`, "over\n"},
		"unread":     {`head -c 200000 /dev/zero | machine true; echo over`, "over\n"},
		"home":       {`machine pwd`, home + "\n"},
		"a shell":    {`echo 'echo hello' | machine`, "hello\n"},
		"a terminal": {`ssh -tt -F "$BAKE_SSH_CONFIG" machine 'echo hello' </dev/null 2>/dev/null`, "hello\n"},
		"language":   {`LC_TIME=xx ssh -o SendEnv=LC_TIME -F "$BAKE_SSH_CONFIG" machine 'echo $LC_TIME'`, "xx\n"},
		"variables":  {`FOO=xx ssh -o SendEnv=FOO -F "$BAKE_SSH_CONFIG" machine 'echo ${FOO-none}'`, "none\n"},
		"user":       {`ssh -F "$BAKE_SSH_CONFIG" nobody-here@machine true 2>&1 || echo $?`, "bake: no such user\n255\n"},
		"turns":      {`for i in 1 2 3 4 5; do machine 'sleep 0.05; echo x' & done; wait`, "x\nx\nx\nx\nx\n"},
		"by hand": {`ssh -p "$BAKE_SSH_PORT" -i "$BAKE_SSH_KEY" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -l root "$BAKE_SSH_HOST" echo hello`,
			"hello\n"},
		"one connection": {`dir=$(mktemp -d)
			master() { ssh -F "$BAKE_SSH_CONFIG" -o ControlMaster=auto -o ControlPath="$dir/s" -o ControlPersist=60 machine "$@"; }
			for i in 1 2 3; do master echo $i; done
			rm -r "$dir"`, "1\n2\n3\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := run(t, new(thisHost), in+c.script, nil); err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// TestUsers holds that root is nobody else to the machine, and others are themselves.
func TestUsers(t *testing.T) {
	need.Tool(t, "ssh")
	m := new(thisHost)
	if _, err := run(t, m, in+`machine true; ssh -F "$BAKE_SSH_CONFIG" ann@machine true
		! ssh -F "$BAKE_SSH_CONFIG" ann:staff@machine true`, func(c *Cmd) { c.Secret = true }); err != nil {
		t.Fatal(err)
	}
	var users []string
	for _, c := range m.ran() {
		users = append(users, c.User)
		if !c.Secret {
			t.Error("the machine is not told of a secret")
		}
	}
	if got := fmt.Sprintf("%q", users); got != `["" "ann"]` {
		t.Errorf("commands of the users %s", got)
	}
}

// TestFiles moves files by OpenSSH's sftp and scp, and by rsync.
func TestFiles(t *testing.T) {
	need.Tool(t, "ssh", "sftp", "scp", "rsync")
	need.File(t, "/usr/lib/openssh/sftp-server")
	const script = in + `
		mkdir from sftp scp old rsync
		head -c 3000000 /dev/urandom >from/large
		: >from/empty
		printf 'put -r from/* %s/sftp/\n' "$PWD" | sftp -q -F "$BAKE_SSH_CONFIG" -b - machine >/dev/null
		scp -q -F "$BAKE_SSH_CONFIG" from/* "machine:$PWD/scp/"
		scp -O -q -F "$BAKE_SSH_CONFIG" from/* "machine:$PWD/old/"
		rsync -a -e "ssh -F $BAKE_SSH_CONFIG" from/ "machine:$PWD/rsync/"
		for d in sftp scp old rsync; do diff -r from $d; done
		mkdir back
		rsync -a -e "ssh -F $BAKE_SSH_CONFIG" "machine:$PWD/from/" back/
		scp -q -F "$BAKE_SSH_CONFIG" "machine:$PWD/from/large" back/again
		diff -r from back || true
		cmp from/large back/again`
	if got, err := run(t, new(thisHost), script, nil); err != nil || got != "Only in back: again\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestStrangers holds that the server is for its client alone, and for commands.
func TestStrangers(t *testing.T) {
	need.Tool(t, "ssh", "ssh-keygen")
	m := new(thisHost)
	got, err := run(t, m, in+`
		ssh-keygen -q -t ed25519 -N '' -f other
		stranger="ssh -p $BAKE_SSH_PORT -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes -o IdentitiesOnly=yes"
		$stranger -i other root@127.0.0.1 true 2>&1 || true
		$stranger -o PubkeyAuthentication=no root@127.0.0.1 true 2>&1 || true
		ssh -F "$BAKE_SSH_CONFIG" -W 127.0.0.1:22 machine </dev/null 2>&1 || true
		ssh -F "$BAKE_SSH_CONFIG" -o ExitOnForwardFailure=yes -R 0:127.0.0.1:22 machine true 2>&1 || true`, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(got), "\n")
	want := []string{"Permission denied (publickey).", "Permission denied (publickey).", "stdio forwarding failed", "remote port forwarding failed"}
	text := got
	for _, w := range want {
		_, after, found := strings.Cut(text, w)
		if !found {
			t.Errorf("got %q, want %q in this order", lines, want)
		}
		text = after
	}
	if ran := m.ran(); len(ran) != 0 {
		t.Errorf("ran %v", ran)
	}
}

// TestEnvironment holds what a program gets of bake's environment.
func TestEnvironment(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "of the user")
	t.Setenv("LC_TIME", "C.UTF-8")
	got, err := run(t, new(thisHost), `echo "${AWS_SECRET_ACCESS_KEY-none} $LC_TIME $PATH $TOKEN"; pwd; cat`, func(c *Cmd) {
		c.Env = []string{"TOKEN=given"}
		c.Dir = "/"
	})
	if want := "none C.UTF-8 " + os.Getenv("PATH") + " given\n/\n"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestEnds(t *testing.T) {
	for script, want := range map[string]string{
		"exit 0":      "<nil>",
		"exit 3":      "exit status 3",
		"kill -9 $$":  "ended by signal: killed",
		"kill -15 $$": "ended by signal: terminated",
	} {
		if _, err := run(t, new(thisHost), script, nil); fmt.Sprint(err) != want {
			t.Errorf("%s: %v, want %s", script, err, want)
		}
	}
	if _, err := run(t, new(thisHost), "", func(c *Cmd) { c.Args = []string{"/nowhere/program"} }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that does not exist: %v", err)
	}
}

// TestLeftovers has a program leave another one that holds its output open.
func TestLeftovers(t *testing.T) {
	got, err := run(t, new(thisHost), "sleep 600 & echo $! $BAKE_SSH_PORT", nil)
	if err != nil {
		t.Fatal(err)
	}
	pid, port, _ := strings.Cut(strings.TrimSpace(got), " ")
	gone(t, pid)
	if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
		conn.Close()
		t.Error("the server still listens")
	}
}

// TestStopped stops a program in the middle of a command, and one that does not heed.
func TestStopped(t *testing.T) {
	need.Tool(t, "ssh")
	dir, cause := t.TempDir(), errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Second, func() { cancel(errors.New("nothing began")) })
	go func() {
		for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
			if _, err := os.Stat(filepath.Join(dir, "begun")); err == nil {
				cancel(cause)
			}
		}
	}()
	script := in + fmt.Sprintf(`cd '%s'
		sleep 600 &
		echo $! >local
		machine 'cd "%[1]s"; echo $$ >remote; touch begun; exec sleep 600'`, dir)
	err := Run(ctx, new(thisHost), Cmd{Args: []string{"sh", "-ec", script}, Dir: dir, Keys: t.TempDir(), Out: io.Discard})
	if err != cause {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"local", "remote"} {
		pid, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		gone(t, strings.TrimSpace(string(pid)))
	}
}

// gone waits for the end of a process.
func gone(t *testing.T, pid string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); exec.Command("kill", "-0", pid).Run() == nil; time.Sleep(10 * time.Millisecond) {
		if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			return // it waits to be reaped
		}
		if time.Now().After(end) {
			t.Fatalf("process %s still runs", pid)
		}
	}
}
