package ssh

import (
	"cmp"
	"context"
	"net"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// A Config says how to reach a machine and who to be there.
type Config struct {
	Address string // "host:port"

	// Dial connects to Address; nil means TCP, by way of the hosts in Jump.
	Dial func(ctx context.Context) (net.Conn, error)

	// Door connects to the machine by a way of the platform's own, on which an SSH
	// server lets Signers in as any user, whatever the image's server says. It is
	// tried where Address fails. It may be nil, and its error says why there is none.
	Door func(ctx context.Context) (net.Conn, error)

	// OwnRoute says that what Dial and Door lead to is this machine and nothing else,
	// so that its host keys prove nothing more.
	OwnRoute bool

	// Plain runs commands as User, who needs no way to become root. Commands that
	// name a user of their own fail.
	Plain bool

	User     string // "" means root
	Signers  []xssh.Signer
	Agent    bool   // offer the keys of the agent at $SSH_AUTH_SOCK, too
	Password string // "" means none

	// SudoPassword is what sudo asks for; "" means that it does not ask.
	SudoPassword string

	// HostKey is the machine's; nil means that of the first connection.
	HostKey xssh.PublicKey

	// Jump are the bastion hosts on the way, each "user@host:port", the first one
	// first. User and port may be left out.
	Jump []string

	// ConfigFile is a client configuration of OpenSSH, which says for the hosts
	// of Jump and of Address what is not given here: HostName, User, Port,
	// IdentityFile, ProxyJump. "" means none.
	ConfigFile string

	// KnownHosts is a file of OpenSSH that holds the keys of the bastion hosts.
	KnownHosts string

	// Caches is a directory of this host for what commands keep between builds.
	// "" means that their caches last as long as the command.
	Caches string

	// Console returns the last lines of the machine's console, for errors. It may
	// be nil.
	Console func() []string

	// Alive returns why the machine is gone for good, or nil. It may be nil.
	Alive func() error

	// Restarts counts how often the machine was seen to restart, so that a
	// connection that broke by that is told from others. It may be nil.
	Restarts func() int

	// Timeout bounds Connect, and each time that the machine is waited for again;
	// 0 means 5 minutes.
	Timeout time.Duration

	// CloudInit waits until cloud-init, where there is one, has done its work.
	CloudInit bool

	// refusal is how long a machine may refuse to let the user in before that is
	// taken as its answer; 0 means a minute. An image places the key while it
	// starts, sometimes after its SSH server does.
	refusal time.Duration
}

func (c *Config) user() string { return cmp.Or(c.User, "root") }

func (c *Config) timeout() time.Duration { return cmp.Or(c.Timeout, 5*time.Minute) }

func (c *Config) refusals() time.Duration {
	if c.refusal == 0 && c.Door != nil {
		return 3 * time.Minute // the door opens when the machine has booted
	}
	return cmp.Or(c.refusal, time.Minute)
}

func (c *Config) alive() error {
	if c.Alive == nil {
		return nil
	}
	return c.Alive()
}

// withConsole adds the console's last lines to an error.
func (c *Config) withConsole(err error) error {
	if c.Console == nil {
		return err
	}
	if lines := c.Console(); len(lines) > 0 {
		return &consoleError{err, lines}
	}
	return err
}

// A consoleError shows what the console said before a failure.
type consoleError struct {
	err   error
	lines []string
}

func (e *consoleError) Error() string {
	s := e.err.Error() + "\nthe console's last lines:"
	for _, line := range e.lines {
		s += "\n  " + line
	}
	return s
}

func (e *consoleError) Unwrap() error { return e.err }
