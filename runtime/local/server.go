package local

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"bake.build/bake/platforms"
)

// Host is the machine's name in the client's configuration.
const Host = "machine"

// A server is an SSH server whose commands run in a machine.
type server struct {
	m       platforms.Machine
	secret  bool // the client has secrets; see platforms.Cmd
	config  *ssh.ServerConfig
	listen  net.Listener
	stop    context.CancelFunc
	turn    chan struct{} // holds a value while a command runs
	working sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]struct{}
}

// plainUser is a name by which a client may log in.
var plainUser = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// serve starts a server for m. Its keys and the client's configuration are files in dir.
// The caller closes the server, and ctx ends what runs in the machine.
func serve(ctx context.Context, m platforms.Machine, dir string, secret bool) (*server, error) {
	host, err := newKey("")
	if err != nil {
		return nil, err
	}
	client, err := newKey(filepath.Join(dir, "key"))
	if err != nil {
		return nil, err
	}
	s := &server{m: m, secret: secret, turn: make(chan struct{}, 1), open: make(map[net.Conn]struct{})}
	allowed := string(client.PublicKey().Marshal())
	s.config = &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != allowed {
			return nil, errors.New("another key")
		}
		if !plainUser.MatchString(c.User()) {
			return nil, fmt.Errorf("%q is not the name of a user", c.User())
		}
		return nil, nil
	}}
	s.config.AddHostKey(host)
	if s.listen, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if err := s.writeConfig(dir, host.PublicKey()); err != nil {
		return nil, errors.Join(err, s.listen.Close())
	}
	ctx, s.stop = context.WithCancel(ctx)
	s.working.Go(func() { s.accept(ctx) })
	return s, nil
}

// newKey makes a key. Where path is not "", it is written there.
func newKey(path string) (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	if path != "" {
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, err
		}
	}
	return ssh.NewSignerFromKey(private)
}

func (s *server) port() int { return s.listen.Addr().(*net.TCPAddr).Port }

// writeConfig writes what OpenSSH needs to reach the server: its configuration, whose
// one host is Host, and the server's key.
func (s *server) writeConfig(dir string, host ssh.PublicKey) error {
	known := filepath.Join(dir, "known_hosts")
	line := Host + " " + string(ssh.MarshalAuthorizedKey(host))
	if err := os.WriteFile(known, []byte(line), 0o600); err != nil {
		return err
	}
	config := []string{
		"Host " + Host,
		"HostName 127.0.0.1",
		fmt.Sprintf("Port %d", s.port()),
		"User root",
		"HostKeyAlias " + Host,
		"IdentityFile " + quoted(filepath.Join(dir, "key")),
		"IdentitiesOnly yes",
		"IdentityAgent none",
		"UserKnownHostsFile " + quoted(known),
		"GlobalKnownHostsFile none",
		"StrictHostKeyChecking yes",
		"BatchMode yes",
		"LogLevel ERROR",
	}
	return os.WriteFile(filepath.Join(dir, "config"), []byte(strings.Join(config, "\n")+"\n"), 0o600)
}

// quoted returns a path as ssh_config(5) wants it: percent signs begin tokens there.
func quoted(path string) string { return `"` + strings.ReplaceAll(path, "%", "%%") + `"` }

func (s *server) accept(ctx context.Context) {
	for {
		conn, err := s.listen.Accept()
		if err != nil {
			return // closed
		}
		if !s.keep(conn) {
			continue
		}
		s.working.Go(func() {
			defer s.forget(conn)
			s.connection(ctx, conn)
		})
	}
}

// keep notes a connection for close. After that it closes the connection.
func (s *server) keep(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close() // nothing was said on it
		return false
	}
	s.open[conn] = struct{}{}
	return true
}

func (s *server) forget(conn net.Conn) {
	_ = conn.Close() // it may be closed already
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
}

// close ends all commands and connections, and returns when they have ended.
func (s *server) close() {
	s.stop()
	_ = s.listen.Close() // it is open
	s.mu.Lock()
	s.closed = true
	for conn := range s.open {
		_ = conn.Close() // the client may have done so
	}
	s.mu.Unlock()
	s.working.Wait()
}

// connection serves one connection.
func (s *server) connection(ctx context.Context, conn net.Conn) {
	c, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		return // the client is told why
	}
	ctx, cancel := context.WithCancel(ctx)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer cancel() // a command does not outlive its connection
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		if offered.ChannelType() != "session" {
			_ = offered.Reject(ssh.UnknownChannelType, "only sessions are served") // or the connection has ended
			continue
		}
		ch, requests, err := offered.Accept()
		if err != nil {
			return
		}
		user := c.User()
		if user == "root" {
			user = ""
		}
		sessions.Go(func() { (&session{server: s, ch: ch, user: user}).serve(ctx, requests) })
	}
}
