package ssh

import (
	"context"
	"fmt"
	"strings"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// throughDoor connects by the platform's own way, as root unless commands run as
// the user. It returns nil where there is none, and why.
func (m *Machine) throughDoor(ctx context.Context, patience time.Duration) (*link, error) {
	if m.c.Door == nil {
		return nil, nil
	}
	user := "root"
	if m.c.Plain {
		user = m.c.user()
	}
	m.keyMu.Lock()
	// The door leads to this machine and to nothing else.
	config := &xssh.ClientConfig{User: user, HostKeyCallback: xssh.InsecureIgnoreHostKey(), Auth: m.authMethods()}
	m.keyMu.Unlock()
	client, _, err := m.attempt(ctx, patience, m.c.Door, config)
	if err != nil {
		return nil, err
	}
	return &link{client: client, door: true}, nil
}

// withDoor adds to an error why the door did not lead in either.
func withDoor(err, door error) error {
	if door == nil {
		return err
	}
	return fmt.Errorf("%w; nor by the platform's own way: %w", err, door)
}

// settled is how long a machine that asks for a login on its console may do without
// anything that lets bake in.
const settled = time.Minute

// idle reports whether the machine has booted, as its console tells, and has not
// answered for so long that it will not.
func (m *Machine) idle(at phase) bool {
	if m.c.Console == nil || m.c.Door == nil || at >= phaseKeys {
		m.prompted = time.Time{}
		return false
	}
	lines := m.c.Console()
	if len(lines) == 0 || !strings.HasSuffix(lines[len(lines)-1], "login:") {
		m.prompted = time.Time{}
		return false
	}
	if m.prompted.IsZero() {
		m.prompted = time.Now()
	}
	return time.Since(m.prompted) > settled
}
