package ssh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/tool"
	"bake.build/bake/platforms"
)

// The machines of these tests are real SSH servers of OpenSSH, each in
// namespaces of its own, with an overlay over this host's files as its root
// directory. They listen on loopback addresses.

// startScript makes the root directory and becomes its SSH server. It runs in
// new namespaces; $1 is a directory for all of it, $2 what the overlay's upper
// directory holds at first or "", $3 the address.
const startScript = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
[ -z "$2" ] || cp -a "$2/." "$1/up"
mount -t overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t devtmpfs devtmpfs dev 2>/dev/null || mount --rbind /dev dev
mkdir -p dev/pts run/sshd root/.ssh
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
hostname machine
grep -q ^ann: etc/passwd || { echo 'ann:x:1000:1000::/home/ann:/bin/sh' >>etc/passwd; echo 'ann:x:1000:' >>etc/group; mkdir -p home/ann/.ssh; }
cp "$4" root/.ssh/authorized_keys
cp "$4" home/ann/.ssh/authorized_keys
chown -R 1000:1000 home/ann
chmod 700 root root/.ssh home/ann/.ssh
chmod 600 root/.ssh/authorized_keys home/ann/.ssh/authorized_keys
cp "$5" run/host_key
chmod 600 run/host_key
cat >run/sshd_config <<END
ListenAddress $3
HostKey /run/host_key
PidFile none
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp
END
[ -z "$6" ] || eval "$6"
echo up
exec chroot . /usr/sbin/sshd -D -e -f /run/sshd_config
`

// A server is a machine that was started.
type server struct {
	t       testing.TB
	dir     string
	address string
	upper   string // see startScript
	setup   string // shell that runs before the server starts, in its root directory
	key     *Key
	cmd     *exec.Cmd
	ended   <-chan error
}

var addresses atomic.Int32

// newServer starts a machine. setup is shell for its root directory.
func newServer(t testing.TB, setup string) *server {
	t.Helper()
	return startServer(t, "", setup)
}

func startServer(t testing.TB, upper, setup string) *server {
	t.Helper()
	need.Root(t)
	need.Tool(t, "sshd", "unshare", "nsenter", "ssh-keygen")
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: t.TempDir(), key: key, setup: setup, upper: upper}
	n := addresses.Add(1)
	s.address = fmt.Sprintf("127.83.%d.%d:%d", os.Getpid()%250+1, n%250+1, 2000+n/250)
	if err := os.WriteFile(s.path("key.pub"), []byte(key.Authorized()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.newHostKey()
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *server) newHostKey() {
	s.t.Helper()
	for _, name := range []string{"host", "host.pub"} {
		if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.t.Fatal(err)
		}
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.path("host")).CombinedOutput(); err != nil {
		s.t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
}

func (s *server) start() {
	s.t.Helper()
	base := s.path("base")
	if err := os.MkdirAll(base, 0o755); err != nil {
		s.t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.Command("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "sh", "-c", startScript, "sh",
		base, s.upper, host+":"+port, s.path("key.pub"), s.path("host"), s.setup)
	out, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = w, w
	if s.ended, err = tool.Start(s.cmd); err != nil {
		s.t.Fatal(err)
	}
	w.Close()
	lines := bufio.NewReader(out)
	var said strings.Builder
	for {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if strings.TrimSpace(line) == "up" {
			break
		}
		if err != nil {
			s.t.Fatalf("the machine does not start: %v\n%s", err, said.String())
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		out.Close()
	}()
}

// stop ends the machine with all of its processes.
func (s *server) stop() {
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
	<-s.ended
	s.cmd = nil
}

// config is how the machine is reached.
func (s *server) config() Config {
	return Config{Address: s.address, Signers: []xssh.Signer{s.key.Signer()}, Timeout: 20 * time.Second, refusal: time.Second}
}

// connect returns the machine; changes alter how it is reached.
func (s *server) connect(changes ...func(*Config)) *Machine {
	s.t.Helper()
	c := s.config()
	for _, f := range changes {
		f(&c)
	}
	m, err := Connect(s.t.Context(), c, sink{s.t})
	if err != nil {
		s.t.Fatalf("Connect: %v", err)
	}
	s.t.Cleanup(func() {
		if err := m.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return m
}

type sink struct{ t testing.TB }

func (s sink) Write(p []byte) (int, error) {
	s.t.Logf("%s", p)
	return len(p), nil
}

func (s sink) Progress(what string, _, _ int64) { s.t.Log(what) }

// run runs a script that must succeed, and returns its output.
func run(t testing.TB, m *Machine, script string, changes ...func(*platforms.Cmd)) string {
	t.Helper()
	var out, errs strings.Builder
	c := platforms.Cmd{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &errs}
	for _, f := range changes {
		f(&c)
	}
	if err := m.Run(t.Context(), c); err != nil {
		t.Fatalf("run %q: %v\n%s%s", script, err, out.String(), errs.String())
	}
	return out.String()
}

// A driver is a platform of such machines, for the conformance suite. A layer is
// a copy of the overlay's upper directory, with all that the layers below hold.
type driver struct{ t *testing.T }

func (d driver) Fingerprint() string { return "ssh-test/1" }

func (d driver) Pin(_ context.Context, o platforms.Origin) (platforms.Origin, error) { return o, nil }

func (d driver) Import(context.Context, platforms.Origin, string, platforms.Sink) (string, error) {
	return "", errors.New("this platform imports nothing")
}

func (d driver) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Sink) (platforms.Machine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := startServer(d.t, filepath.Join(chain[len(chain)-1].Dir, "up"), "")
	c := s.config()
	c.Caches = filepath.Join(os.TempDir(), fmt.Sprintf("bake-ssh-test-%d", os.Getpid()))
	if err := os.MkdirAll(c.Caches, 0o700); err != nil {
		return nil, err
	}
	d.t.Cleanup(func() { _ = os.RemoveAll(c.Caches) }) // of all machines: the first that ends does it
	m, err := Connect(ctx, c, out)
	if err != nil {
		return nil, err
	}
	return &machine{onLink: m, s: s}, nil
}

// A machine is a server that cannot be started anew.
type machine struct {
	onLink
	s *server
}

// onLink is the part of a machine that SSH alone does.
type onLink interface {
	Run(ctx context.Context, c platforms.Cmd) error
	Write(ctx context.Context, dst string, tar io.Reader) error
	Read(ctx context.Context, src string, tar io.Writer) error
	Close() error
}

// Commit copies the upper directory.
func (m *machine) Commit(ctx context.Context, dir string) (string, error) {
	if err := m.Run(ctx, platforms.Cmd{Args: []string{"sync"}}); err != nil {
		return "", err
	}
	// The upper directory lies on a mount of the machine's namespace.
	cp := exec.Command("nsenter", "-m", "-t", fmt.Sprint(m.s.child()), "cp", "-a", m.s.path("base")+"/up", filepath.Join(dir, "up"))
	if out, err := cp.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return "", nil
}

// child is the process that is in the machine's namespaces.
func (s *server) child() int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(data), &pid); err != nil {
		s.t.Fatal(err)
	}
	return pid
}

// killConnections ends the server's processes that serve connections.
func (s *server) killConnections() {
	s.t.Helper()
	var pids []int
	server := s.child()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", server))
	if err != nil {
		s.t.Fatal(err)
	}
	for word := range strings.FieldsSeq(string(data)) {
		var pid int
		if _, err := fmt.Sscan(word, &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.t.Error(err)
		}
	}
}
