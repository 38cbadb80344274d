package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/kevinburke/ssh_config"
	xssh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"bake.build/bake/internal/regular"
)

// authMethods returns the ways to prove who one is. m.keyMu is held.
func (m *Machine) authMethods() []xssh.AuthMethod {
	signers := m.signers
	methods := []xssh.AuthMethod{xssh.PublicKeysCallback(func() ([]xssh.Signer, error) {
		all := signers
		if m.agent != nil {
			more, err := m.agent.Signers()
			if err != nil {
				return nil, fmt.Errorf("ask the SSH agent: %w", err)
			}
			all = append(all[:len(all):len(all)], more...)
		}
		return all, nil
	})}
	if password := m.c.Password; password != "" {
		methods = append(methods, xssh.Password(password),
			xssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
				answers := make([]string, len(questions))
				for i := range questions {
					if !echos[i] {
						answers[i] = password
					}
				}
				return answers, nil
			}))
	}
	return methods
}

// openAgent connects to the agent of the user.
func openAgent() (agent.ExtendedAgent, net.Conn, error) {
	path := os.Getenv("SSH_AUTH_SOCK")
	if path == "" {
		return nil, nil, errors.New("there is no SSH agent: SSH_AUTH_SOCK is not set")
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the SSH agent: %w", err)
	}
	return agent.NewClient(conn), conn, nil
}

// dial connects to the machine's port.
func (m *Machine) dial(ctx context.Context) (net.Conn, error) {
	if m.c.Dial != nil {
		return m.c.Dial(ctx)
	}
	hops, target := m.route.jump, m.route.target
	if len(hops) == 0 {
		return (&net.Dialer{}).DialContext(ctx, "tcp", target)
	}
	return m.dialThrough(ctx, hops, target)
}

// A route is how a machine is reached.
type route struct {
	jump   []hop
	target string // "host:port"
}

// A hop is one bastion host.
type hop struct {
	address, user string
	identities    []xssh.Signer
}

// settings reads a client configuration of OpenSSH.
type settings struct{ config *ssh_config.Config }

func readSettings(path string) (settings, error) {
	if path == "" {
		return settings{&ssh_config.Config{}}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return settings{}, fmt.Errorf("read the SSH configuration: %w", err)
	}
	config, err := ssh_config.Decode(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return settings{}, fmt.Errorf("read the SSH configuration %s: %w", path, err)
	}
	return settings{config}, nil
}

// get returns a keyword for a host, or "".
func (s settings) get(host, keyword string) (string, error) {
	return s.config.Get(host, keyword)
}

// plan works out the route from the configuration.
func (c *Config) plan() (route, error) {
	s, err := readSettings(c.ConfigFile)
	if err != nil {
		return route{}, err
	}
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return route{}, fmt.Errorf("address %q: %w", c.Address, err)
	}
	var r route
	name, err := s.get(host, "HostName")
	if err != nil {
		return r, err
	}
	r.target = net.JoinHostPort(cmp.Or(name, host), port)
	jump := c.Jump
	if len(jump) == 0 {
		list, err := s.get(host, "ProxyJump")
		if err != nil {
			return r, err
		}
		if list != "" && list != "none" {
			jump = strings.Split(list, ",")
		}
	}
	for _, text := range jump {
		h, err := s.hop(strings.TrimSpace(text))
		if err != nil {
			return r, fmt.Errorf("jump host %q: %w", text, err)
		}
		r.jump = append(r.jump, h)
	}
	return r, nil
}

// hop reads "user@host:port".
func (s settings) hop(text string) (hop, error) {
	name, rest, found := strings.Cut(text, "@")
	if !found {
		name, rest = "", text
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		host, port = strings.Trim(rest, "[]"), ""
	}
	if host == "" {
		return hop{}, errors.New("names no host")
	}
	values := map[string]string{}
	for _, keyword := range []string{"HostName", "Port", "User", "IdentityFile"} {
		if values[keyword], err = s.get(host, keyword); err != nil {
			return hop{}, err
		}
	}
	h := hop{
		address: net.JoinHostPort(cmp.Or(values["HostName"], host), cmp.Or(port, values["Port"], "22")),
		user:    cmp.Or(name, values["User"]),
	}
	if h.user == "" {
		me, err := user.Current()
		if err != nil {
			return hop{}, err
		}
		h.user = me.Username
	}
	if file := values["IdentityFile"]; file != "" {
		signer, err := readIdentity(file)
		if err != nil {
			return hop{}, err
		}
		h.identities = append(h.identities, signer)
	}
	return h, nil
}

// maxIdentity is how many bytes the file of a private key has at most.
const maxIdentity = 1 << 20

func readIdentity(file string) (xssh.Signer, error) {
	if rest, ok := strings.CutPrefix(file, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		file = filepath.Join(home, rest)
	}
	data, err := regular.Read(file, maxIdentity)
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	signer, err := xssh.ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("read the key %s: %w", file, err)
	}
	return signer, nil
}

// dialThrough connects by way of the bastion hosts. The connections to them end
// with the one to the machine.
func (m *Machine) dialThrough(ctx context.Context, hops []hop, target string) (net.Conn, error) {
	known, err := m.bastionKeys()
	if err != nil {
		return nil, err
	}
	var clients []*xssh.Client
	release := func() error {
		var errs []error
		for i := len(clients) - 1; i >= 0; i-- {
			errs = append(errs, ignoreClosed(clients[i].Close()))
		}
		return errors.Join(errs...)
	}
	connect := func(address string) (net.Conn, error) {
		if len(clients) == 0 {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
		return clients[len(clients)-1].DialContext(ctx, "tcp", address)
	}
	for _, h := range hops {
		conn, err := connect(h.address)
		if err == nil {
			var client *xssh.Client
			if client, err = m.enter(ctx, conn, h, known); err == nil {
				clients = append(clients, client)
				continue
			}
		}
		return nil, errors.Join(fmt.Errorf("jump host %s: %w", h.address, err), release())
	}
	conn, err := connect(target)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %s from jump host %s: %w", target, hops[len(hops)-1].address, err), release())
	}
	return &jumpedConn{Conn: conn, release: release}, nil
}

// enter logs in at a bastion host.
func (m *Machine) enter(ctx context.Context, conn net.Conn, h hop, known xssh.HostKeyCallback) (*xssh.Client, error) {
	m.keyMu.Lock()
	methods := m.authMethods()
	m.keyMu.Unlock()
	if len(h.identities) > 0 {
		methods = append([]xssh.AuthMethod{xssh.PublicKeys(append(h.identities, m.signers...)...)}, methods[1:]...)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	sc, channels, requests, err := xssh.NewClientConn(conn, h.address, &xssh.ClientConfig{User: h.user, Auth: methods, HostKeyCallback: known})
	if err != nil {
		return nil, errors.Join(err, ignoreClosed(conn.Close()))
	}
	return xssh.NewClient(sc, channels, requests), nil
}

// bastionKeys returns what knows the host keys of the bastion hosts. Those are
// hosts that stay, so that a key that is not known is refused.
func (m *Machine) bastionKeys() (xssh.HostKeyCallback, error) {
	path := m.c.KnownHosts
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(home, ".ssh", "known_hosts")
	}
	known, err := knownhosts.New(path)
	if err != nil {
		return nil, fmt.Errorf("read the known hosts: %w", err)
	}
	return func(address string, remote net.Addr, key xssh.PublicKey) error {
		err := known(address, remote, key)
		if unknown := (*knownhosts.KeyError)(nil); errors.As(err, &unknown) && len(unknown.Want) == 0 {
			err = fmt.Errorf("its host key is not in %s: connect to it once with ssh", path)
		}
		if err != nil {
			return &bastionKeyError{err}
		}
		return nil
	}, nil
}

// A bastionKeyError says that the host key of a bastion host is not a known one, which
// no waiting changes.
type bastionKeyError struct{ err error }

func (e *bastionKeyError) Error() string { return e.err.Error() }

func (e *bastionKeyError) Unwrap() error { return e.err }

// A jumpedConn is a connection by way of others.
type jumpedConn struct {
	net.Conn
	release func() error
}

func (c *jumpedConn) Close() error { return errors.Join(c.Conn.Close(), c.release()) }
