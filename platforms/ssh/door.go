package ssh

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// throughDoor connects by the platform's own way, as root unless commands run as
// the user. It returns nil where there is none, and why.
func (m *Machine) throughDoor(ctx context.Context, timeout time.Duration) (*link, error) {
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
	client, _, err := m.attempt(ctx, timeout, m.c.Door, config)
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

// settled is how long a machine that asks for a login on its console may at least do
// without anything that lets bake in.
const settled = time.Minute

// idle reports whether the machine has booted, as its console tells, and has not let
// bake in for so long that it will not: for as long as it took to boot, since services
// of a slow machine start after its consoles.
func (m *Machine) idle(at phase, begin time.Time) bool {
	if m.c.Console == nil || m.c.Door == nil || at == phaseKeys || !prompting(m.c.Console()) {
		m.prompted = time.Time{}
		return false
	}
	if m.prompted.IsZero() {
		m.prompted = time.Now()
	}
	return time.Since(m.prompted) > max(settled, m.prompted.Sub(begin))
}

// kernelLine is a message of the kernel's on a console, which may come at any time.
var kernelLine = regexp.MustCompile(`^\[ *\d+\.\d+\] `)

// loginPrompt is what getty writes, and what the kernel may write on behind it.
var loginPrompt = regexp.MustCompile(`(^|\s)login:(\s|$)`)

// prompting reports whether the last thing that is not the kernel's on a console asks
// for a login.
func prompting(lines []string) bool {
	for _, line := range slices.Backward(lines) {
		switch {
		case strings.Contains(line, "reboot: "):
			return false
		case loginPrompt.MatchString(line):
			return true
		case !kernelLine.MatchString(line):
			return false
		}
	}
	return false
}
