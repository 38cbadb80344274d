package ssh

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
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// A person is a user of the machine with a shell, a key and sudo.
func person(name, sudoers, password string) string {
	return fmt.Sprintf(`echo '%[1]s:x:1234:1234::/home/%[1]s:/bin/sh' >>etc/passwd; echo '%[1]s:x:1234:' >>etc/group
mkdir -p home/%[1]s/.ssh; cp root/.ssh/authorized_keys home/%[1]s/.ssh/; chown -R 1234:1234 home/%[1]s; chmod 700 home/%[1]s/.ssh
[ -z '%[3]s' ] || echo '%[1]s:%[3]s' | chroot . chpasswd
echo '%[1]s ALL=(ALL) %[2]s' >etc/sudoers.d/%[1]s; chmod 440 etc/sudoers.d/%[1]s`, name, sudoers, password)
}

func TestSudo(t *testing.T) {
	need.Tool(t, "sudo")
	for _, tt := range []struct {
		name, sudoers, password, given string
		want                           string // of the error; "" for none
	}{
		{"free", "NOPASSWD: ALL", "not asked for", "", ""},
		{"password", "ALL", "let me", "let me", ""},
		{"password missing", "ALL", "let me", "", "without a password, and none is given"},
		{"password wrong", "ALL", "let me", "let us", "does not accept the password"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, person("carol", tt.sudoers, tt.password))
			c := s.config()
			c.User, c.SudoPassword = "carol", tt.given
			m, err := Connect(t.Context(), c, platformtest.TestLog{T: t})
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || tt.given != "" && strings.Contains(err.Error(), tt.given) {
					t.Fatalf("got %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if got := run(t, m, "id -u; cat; cat /run/f", func(c *platforms.Cmd) {
				c.Stdin = strings.NewReader("input\n")
				c.Files = []platforms.File{{Path: "/run/f", Data: []byte("file"), Mode: 0o400}}
			}); got != "0\ninput\nfile" {
				t.Errorf("got %q", got)
			}
			if cmdlines := run(t, m, `cat /proc/*/cmdline | tr '\0' ' '`); tt.given != "" && strings.Contains(cmdlines, tt.given) {
				t.Errorf("the password is on a command line: %s", cmdlines)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	s := newServer(t, "")
	other, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"key":  func(c *Config) { c.Signers = []xssh.Signer{other.Signer()} },
		"user": func(c *Config) { c.User = "nobody-knows" },
	} {
		c := s.config()
		change(&c)
		c.Console = func() []string { return []string{"machine login:"} }
		_, err := Connect(t.Context(), c, platformtest.TestLog{T: t})
		if err == nil || !strings.Contains(err.Error(), "does not let the user") || !strings.Contains(err.Error(), "machine login:") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNothingThere waits for servers that are none; listeners of this test stand
// in for them.
func TestNothingThere(t *testing.T) {
	listen := func(serve func(net.Conn)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go serve(c)
			}
		}()
		return l.Addr().String()
	}
	closed := listen(func(net.Conn) {})
	for name, tt := range map[string]struct{ address, want string }{
		"silence": {listen(func(net.Conn) {}), "an SSH server at"},
		"web":     {listen(func(c net.Conn) { io.WriteString(c, "HTTP/1.0 400 no\r\n\r\n"); c.Close() }), "an SSH server at"},
		"reset":   {listen(func(c net.Conn) { c.Close() }), "an SSH server at"},
		"nothing": {strings.Replace(closed, "127.0.0.1", "127.83.0.9", 1), "the port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := Config{Address: tt.address, Timeout: 500 * time.Millisecond, Console: func() []string { return []string{"last words"} }}
			_, err := Connect(t.Context(), c, platformtest.TestLog{T: t})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "waited 500ms for") || !strings.Contains(err.Error(), "last words") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("gone", func(t *testing.T) {
		gone := errors.New("it was never plugged in")
		_, err := Connect(t.Context(), Config{Address: "127.83.0.9:9", Alive: func() error { return gone }}, platformtest.TestLog{T: t})
		if !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
	})
}

func TestHostKeyChanges(t *testing.T) {
	s := newServer(t, "")
	m := s.connect()
	run(t, m, "true")
	s.stop()
	s.newHostKey()
	s.start()
	err := m.Run(t.Context(), platforms.Cmd{Args: []string{"true"}})
	if err == nil || !strings.Contains(err.Error(), "another host key") {
		t.Errorf("got %v", err)
	}
	other, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	c := s.config()
	c.HostKey = other.Signer().PublicKey()
	if _, err := Connect(t.Context(), c, platformtest.TestLog{T: t}); err == nil || !strings.Contains(err.Error(), "another host key") {
		t.Errorf("with a known key: %v", err)
	}
}

// TestBrokenConnection ends the server's processes under connections: idle ones
// are made anew, and commands fail.
func TestBrokenConnection(t *testing.T) {
	s := newServer(t, "")
	m := s.connect()
	run(t, m, "echo kept >/kept")
	s.killConnections()
	if got := run(t, m, "cat /kept"); got != "kept\n" {
		t.Errorf("after an idle connection broke: %q", got)
	}
	started := &trigger{want: "started", then: s.killConnections}
	err := m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-c", "echo started; exec sleep 600"}, Stdout: started})
	if err == nil || !strings.Contains(err.Error(), "the connection to the machine broke while the command ran") {
		t.Errorf("got %v", err)
	}
	if got := run(t, m, "cat /kept"); got != "kept\n" {
		t.Errorf("after a broken command: %q", got)
	}
	err = m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-c", "kill -KILL $(cat /proc/*/task/*/children >/dev/null; ps -o ppid= $$)"}, ExpectDisconnect: true})
	if err != nil {
		t.Errorf("an expected end of the connection: %v", err)
	}
	run(t, m, "true")
}

// TestCancelEndsAll cancels a command: none of its processes is left, whatever the
// machine's shell is, and without procps.
func TestCancelEndsAll(t *testing.T) {
	need.Tool(t, "busybox", "bash")
	for name, setup := range map[string]string{
		"as it is":       "",
		"without procps": "rm usr/bin/pkill",
		"busybox as sh":  "rm usr/bin/pkill; ln -sf busybox usr/bin/sh",
		"bash as sh":     "rm usr/bin/pkill; ln -sf bash usr/bin/sh",
	} {
		t.Run(name, func(t *testing.T) { cancelEndsAll(t, newServer(t, setup).connect()) })
	}
}

func cancelEndsAll(t *testing.T, m *Machine) {
	ctx, cancel := context.WithCancel(t.Context())
	started := &trigger{want: "started", then: cancel}
	err := m.Run(ctx, platforms.Cmd{Args: []string{"sh", "-c", "sleep 601 & trap '' TERM; echo started; sleep 602; sleep 603"}, Stdout: started})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	run(t, m, "sleep 604 & true")
	if got := run(t, m, `for i in 1 2 3 4 5 6 7 8 9 10; do l=$(cat /proc/*/cmdline 2>/dev/null | tr '\0' '\n' | grep -x '60[1-4]'); [ -n "$l" ] || break; sleep 0.2; done; echo "left:$l"`); got != "left:\n" {
		t.Errorf("got %q", got)
	}
}

// TestCancelledPipe cancels a line that waits for neither of its streams.
func TestCancelledPipe(t *testing.T) {
	m := newServer(t, "").connect()
	l, err := m.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	want := errors.New("enough")
	out := &trigger{want: "started", then: func() { cancel(want) }}
	if err := m.pipe(ctx, l, "echo started; exec sleep 605", nil, out); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	run(t, m, "for i in $(seq 50); do pkill -xf 'sleep 605' && exit; sleep 0.1; done; exit 1")
}

// A trigger calls then when it has read a text.
type trigger struct {
	b    bytes.Buffer
	want string
	then func()
}

func (w *trigger) Write(p []byte) (int, error) {
	w.b.Write(p)
	if strings.Contains(w.b.String(), w.want) {
		w.then()
	}
	return len(p), nil
}

func TestJumpHosts(t *testing.T) {
	first, second, target := newServer(t, ""), newServer(t, ""), newServer(t, "")
	dir := t.TempDir()
	var known strings.Builder
	for _, s := range []*server{first, second} {
		pub, err := os.ReadFile(s.path("host.pub"))
		if err != nil {
			t.Fatal(err)
		}
		host, port, err := net.SplitHostPort(s.address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&known, "[%s]:%s %s", host, port, pub)
	}
	knownHosts := filepath.Join(dir, "known_hosts")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(knownHosts, known.String())
	host, port, err := net.SplitHostPort(second.address)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config")
	write(config, fmt.Sprintf("Host inner\n  HostName %s\n  Port %s\n  User root\n", host, port))
	c := target.config()
	c.Signers = append(c.Signers, first.key.Signer(), second.key.Signer())
	c.Jump, c.ConfigFile, c.KnownHosts = []string{"root@" + first.address, "inner"}, config, knownHosts
	m, err := Connect(t.Context(), c, platformtest.TestLog{T: t})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := run(t, m, `echo "$SSH_CLIENT"`); !strings.HasPrefix(got, "127.") {
		t.Errorf("got %q", got)
	}
	write(knownHosts, "")
	c.Timeout = time.Hour // no waiting makes it known
	if _, err := Connect(t.Context(), c, platformtest.TestLog{T: t}); err == nil || !strings.Contains(err.Error(), "connect to it once with ssh") {
		t.Errorf("an unknown jump host: %v", err)
	}
}

func TestAgent(t *testing.T) {
	need.Tool(t, "ssh-agent", "ssh-add", "ssh-keygen")
	s := newServer(t, "")
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pub, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	run(t, s.connect(), "cat >>/root/.ssh/authorized_keys", func(c *platforms.Cmd) { c.Stdin = bytes.NewReader(pub) })
	sock := filepath.Join(dir, "agent")
	agent := exec.Command("ssh-agent", "-D", "-a", sock)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
	}()
	t.Setenv("SSH_AUTH_SOCK", sock)
	for range 100 {
		if _, err := os.Stat(sock); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if out, err := exec.Command("ssh-add", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run(t, s.connect(func(c *Config) { c.Signers, c.Agent = nil, true }), "true")
}
