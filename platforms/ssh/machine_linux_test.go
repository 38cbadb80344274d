package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testsshd"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// A server is a machine of these tests.
type server struct {
	testsshd.Server
	t       testing.TB
	address string
	key     *Key
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
	need.Tool(t, testsshd.Tools...)
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	n := addresses.Add(1)
	s := &server{t: t, key: key, address: fmt.Sprintf("127.83.%d.%d:%d", os.Getpid()%250+1, n%250+1, 2000+n/250)}
	s.Server = testsshd.Server{Dir: t.TempDir(), Address: s.address, AuthorizedKeys: key.Authorized(), Upper: upper, Setup: setup}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *server) path(name string) string { return s.Path(name) }

func (s *server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) newHostKey() { s.t.Helper(); s.must(s.NewHostKey()) }
func (s *server) start()      { s.t.Helper(); s.must(s.Start()) }

// stop ends the machine with all of its processes.
func (s *server) stop() {
	if err := s.Stop(); err != nil {
		s.t.Error(err)
	}
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
	m, err := Connect(s.t.Context(), c, platformtest.TestLog{T: s.t})
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

func (d driver) Import(context.Context, platforms.Origin, string, platforms.Logger) (platforms.Made, error) {
	return platforms.Made{}, errors.New("this platform imports nothing")
}

func (d driver) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (platforms.Machine, error) {
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
func (m *machine) Commit(ctx context.Context, s platforms.State) (platforms.Made, error) {
	if err := m.Run(ctx, platforms.Cmd{Args: []string{"sync"}}); err != nil {
		return platforms.Made{}, err
	}
	return platforms.Made{}, m.s.Save(filepath.Join(s.Dir, "up"))
}

// killConnections ends the server's processes that serve connections.
func (s *server) killConnections() {
	s.t.Helper()
	var pids []int
	server, err := s.Child()
	s.must(err)
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
