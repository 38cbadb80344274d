package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/wait"
)

// A phase is how far a connection came.
type phase int

const (
	phasePort   phase = iota // nothing answers
	phaseBanner              // something does, and no SSH server
	phaseKeys                // an SSH server does, and has not agreed on keys
	phaseAuth                // it refuses the user
)

// what describes what is waited for.
func (p phase) what(c *Config) string {
	switch p {
	case phasePort:
		return "the port " + c.Address
	case phaseBanner:
		return "an SSH server at " + c.Address
	case phaseKeys:
		return "the SSH server at " + c.Address
	}
	return fmt.Sprintf("the SSH server at %s to let %s in", c.Address, c.user())
}

// Pauses between tries, and how long an attempt may take.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = time.Second
	bannerFirst  = 2 * time.Second // then an eighth of the time since the start
	bannerMost   = 20 * time.Second
	handshake    = 45 * time.Second
)

// wait connects as soon as the machine can be reached.
func (m *Machine) wait(ctx context.Context, out platforms.Logger) (*link, error) {
	c := &m.c
	begin := time.Now()
	ctx, cancel := context.WithDeadlineCause(ctx, begin.Add(c.timeout()), errTimeout)
	defer cancel()
	pause, shown := wait.Backoff{Next: firstPause, Most: longestPause}, phase(-1)
	var refused time.Time
	for {
		if err := c.alive(); err != nil {
			return nil, c.withConsole(err)
		}
		timeout := min(max(bannerFirst, time.Since(begin)/8), bannerMost)
		client, at, err := m.attempt(ctx, timeout, m.dial, m.clientConfig())
		if err == nil {
			return &link{client: client}, nil
		}
		l, doorErr := m.throughDoor(ctx, timeout)
		if l != nil {
			return l, nil
		}
		err = withDoor(err, doorErr)
		if ctx.Err() != nil {
			return nil, m.gaveUp(ctx, at, err)
		}
		if fatal := (*hostKeyError)(nil); errors.As(err, &fatal) {
			return nil, fatal
		}
		if fatal := (*bastionKeyError)(nil); errors.As(err, &fatal) {
			return nil, err
		}
		if m.idle(at, begin) {
			return nil, m.gaveUp(ctx, at, err)
		}
		if at != phaseAuth {
			refused = time.Time{}
		} else if refused.IsZero() {
			refused = time.Now()
		} else if time.Since(refused) > c.refusals() {
			return nil, c.withConsole(m.refusedError(err))
		}
		if at != shown {
			shown = at
			out.Progress("wait for "+at.what(c), 0, 0)
		}
		if pause.Wait(ctx) != nil {
			return nil, m.gaveUp(ctx, at, err)
		}
	}
}

// errTimeout is the end of the time that a machine has.
var errTimeout = errors.New("the time is up")

// gaveUp says why waiting ended.
func (m *Machine) gaveUp(ctx context.Context, at phase, last error) error {
	cause := context.Cause(ctx)
	if cause == nil {
		return m.c.withConsole(fmt.Errorf("the machine has booted, and %v later there is no way into it: waited for %s: %w", time.Since(m.prompted).Round(time.Second), at.what(&m.c), last))
	}
	if !errors.Is(cause, errTimeout) {
		return cause
	}
	if err := m.c.alive(); err != nil {
		return m.c.withConsole(err)
	}
	if at == phaseAuth {
		return m.c.withConsole(m.refusedError(last))
	}
	return m.c.withConsole(fmt.Errorf("waited %v for %s: %w", m.c.timeout(), at.what(&m.c), last))
}

// refusedError says that the machine answers and does not let the user in.
func (m *Machine) refusedError(err error) error {
	with := "bake's key"
	if m.c.Password != "" {
		with = "bake's key or the password"
	}
	return fmt.Errorf("the machine does not let the user %q in with %s: %w", m.c.user(), with, err)
}

// attempt tries once. at is how far it came.
func (m *Machine) attempt(ctx context.Context, timeout time.Duration, dial func(context.Context) (net.Conn, error), config *xssh.ClientConfig) (_ *xssh.Client, at phase, err error) {
	short, cancel := context.WithTimeoutCause(ctx, timeout, errors.New("no answer"))
	defer cancel()
	conn, err := dial(short)
	if err != nil {
		if short.Err() != nil && ctx.Err() == nil {
			err = context.Cause(short)
		}
		return nil, phasePort, err
	}
	watched := &watchedConn{Conn: conn}
	// Nothing but the end of the connection stops the handshake.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	banner := time.AfterFunc(timeout, func() {
		if !watched.spoken() {
			_ = conn.Close()
		}
	})
	defer banner.Stop()
	late := time.AfterFunc(handshake, func() { _ = conn.Close() })
	defer late.Stop()
	sc, channels, requests, err := xssh.NewClientConn(watched, m.c.Address, config)
	if err == nil && !late.Stop() {
		err = errors.Join(errors.New("the handshake takes too long"), sc.Close())
	}
	if err == nil {
		return xssh.NewClient(sc, channels, requests), phaseAuth, nil
	}
	err = errors.Join(err, ignoreClosed(conn.Close()))
	switch {
	case strings.Contains(err.Error(), "unable to authenticate"):
		at = phaseAuth
	case watched.spoken():
		at = phaseKeys
	default:
		at, err = phaseBanner, errors.New("it accepts connections and does not speak")
	}
	return nil, at, err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// A watchedConn notes whether an SSH server has spoken.
type watchedConn struct {
	net.Conn
	mu    sync.Mutex
	first []byte
}

// identification is how an SSH server begins (RFC 4253, 4.2).
const identification = "SSH-"

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	if len(c.first) < 4<<10 {
		c.first = append(c.first, p[:n]...)
	}
	c.mu.Unlock()
	return n, err
}

func (c *watchedConn) spoken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Contains(c.first, []byte(identification))
}

// A hostKeyError says that another machine answers than before.
type hostKeyError struct{ address, want, got string }

func (e *hostKeyError) Error() string {
	return fmt.Sprintf("the machine at %s has another host key than expected: %s, not %s", e.address, e.got, e.want)
}

// checkHostKey pins the first key unless one is known.
func (m *Machine) checkHostKey(_ string, _ net.Addr, key xssh.PublicKey) error {
	m.keyMu.Lock()
	defer m.keyMu.Unlock()
	if m.hostKey == nil || m.c.OwnRoute {
		m.hostKey = key
		return nil
	}
	if bytes.Equal(m.hostKey.Marshal(), key.Marshal()) {
		return nil
	}
	return &hostKeyError{m.c.Address, xssh.FingerprintSHA256(m.hostKey), xssh.FingerprintSHA256(key)}
}

func (m *Machine) clientConfig() *xssh.ClientConfig {
	m.keyMu.Lock()
	defer m.keyMu.Unlock()
	config := &xssh.ClientConfig{User: m.c.user(), HostKeyCallback: m.checkHostKey, Auth: m.authMethods()}
	if m.hostKey != nil && !m.c.OwnRoute {
		config.HostKeyAlgorithms = algorithmsOf(m.hostKey)
	}
	return config
}

// algorithmsOf returns the signatures that a host key can make, so that a
// machine with several keys proves to have the known one.
func algorithmsOf(key xssh.PublicKey) []string {
	if key.Type() == xssh.KeyAlgoRSA {
		return []string{xssh.KeyAlgoRSASHA512, xssh.KeyAlgoRSASHA256}
	}
	return []string{key.Type()}
}
