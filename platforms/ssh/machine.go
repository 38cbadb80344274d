package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	xssh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"bake.build/bake/platforms"
)

// A Machine is a machine that is reached over SSH. It is safe for concurrent
// use.
type Machine struct {
	c         Config
	route     route
	agent     agent.ExtendedAgent // may be nil
	agentConn net.Conn

	keyMu   sync.Mutex
	hostKey xssh.PublicKey
	signers []xssh.Signer

	mu     sync.Mutex
	link   *link // nil when there is no connection
	closed bool
	sudo   string // what goes before a command that needs root

	prompted time.Time     // since when the console asks for a login; of the one who waits
	tidy     chan struct{} // closed when what the last command left is gone; may be nil
}

// A link is one connection.
type link struct {
	client  *xssh.Client
	control *controlShell
	gone    chan struct{} // closed when the connection has ended
	bootID  string        // of the machine; "" when it does not tell

	restarts int  // of the machine, when the connection began
	door     bool // it came by the platform's own way; see Config.Door

	mu   sync.Mutex
	next *prepared // for the next command; may be nil
}

func (l *link) alive() bool {
	select {
	case <-l.gone:
		return false
	default:
		return true
	}
}

// session opens a session.
func (l *link) session() (*xssh.Session, error) { return unlessGone(l, l.client.NewSession) }

// unlessGone opens something on a connection, and fails when that ends. The
// client library alone may wait for ever: no answer comes to what is sent in the
// moment in which its reader ends.
func unlessGone[T any](l *link, open func() (T, error)) (T, error) {
	type opened struct {
		value T
		err   error
	}
	got := make(chan opened, 1)
	go func() {
		v, err := open()
		got <- opened{v, err}
	}()
	select {
	case o := <-got:
		return o.value, o.err
	case <-l.gone:
		select {
		case o := <-got:
			return o.value, o.err
		default:
			var none T
			return none, io.ErrUnexpectedEOF
		}
	}
}

// ErrClosed is what a closed Machine answers.
var ErrClosed = errors.New("the machine is closed")

// Connect waits until the machine can be used, tells out what it waits for, and
// returns it. The error says how far it came, and shows the console's last
// lines.
func Connect(ctx context.Context, c Config, out platforms.Logger) (*Machine, error) {
	m := &Machine{c: c, signers: c.Signers, hostKey: c.HostKey}
	var err error
	if m.route, err = c.plan(); err != nil {
		return nil, err
	}
	if c.Agent {
		if m.agent, m.agentConn, err = openAgent(); err != nil {
			return nil, err
		}
	}
	l, err := m.connect(ctx, out)
	if err == nil && c.CloudInit {
		err = m.waitCloudInit(ctx, l, out)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// connect makes a connection and keeps it as m.link.
func (m *Machine) connect(ctx context.Context, out platforms.Logger) (*link, error) {
	l, err := m.wait(ctx, out)
	if err != nil {
		return nil, fmt.Errorf("reach the machine: %w", err)
	}
	client := l.client
	l.gone = make(chan struct{})
	if m.c.Restarts != nil {
		l.restarts = m.c.Restarts()
	}
	go func() {
		_ = client.Wait() // how it ended shows where it was used
		close(l.gone)
	}()
	go l.keepAlive()
	if err := m.setUp(ctx, l); err != nil {
		return nil, errors.Join(err, ignoreClosed(client.Close()))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errors.Join(ErrClosed, ignoreClosed(client.Close()))
	}
	m.link = l
	return l, nil
}

// setUp learns how to become root, and starts the control shell.
func (m *Machine) setUp(ctx context.Context, l *link) (err error) {
	switch {
	case m.c.user() == "root" || m.c.Plain || l.door:
		m.sudo = ""
	case m.sudo == "":
		if err := m.findSudo(ctx, l); err != nil {
			return err
		}
	}
	m.prepare(l)
	if l.control, err = m.startControl(ctx, l); err != nil {
		return err
	}
	id, err := l.control.do(ctx, "cat /proc/sys/kernel/random/boot_id 2>/dev/null || true")
	l.bootID = strings.TrimSpace(id)
	return err
}

// Ways to become root. sudo -k asks for the password even where it was given
// before, so that what is the first line of the input is certain.
const (
	sudoFree     = "sudo -n "
	sudoPassword = "sudo -k -S -p '' "
)

// findSudo learns whether sudo wants a password.
func (m *Machine) findSudo(ctx context.Context, l *link) error {
	out, err := l.output(ctx, sudoFree+"true", "")
	if err == nil {
		m.sudo = sudoFree
		return nil
	}
	exit := (*xssh.ExitError)(nil)
	switch {
	case !errors.As(err, &exit):
		return fmt.Errorf("become root: %w", err)
	case exit.ExitStatus() == 127:
		return fmt.Errorf("become root: the machine has no sudo for the user %q", m.c.user())
	case m.c.SudoPassword == "":
		return fmt.Errorf("become root: sudo does not let the user %q run commands without a password, and none is given: %s", m.c.user(), lastLine(out))
	}
	if out, err := l.output(ctx, sudoPassword+"true", m.c.SudoPassword+"\n"); err != nil {
		return fmt.Errorf("become root: sudo does not accept the password of the user %q: %s", m.c.user(), lastLine(out))
	}
	m.sudo = sudoPassword
	return nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}

// asRoot returns the command line that executes a shell script as root, and what
// has to come first on its input. The script is fixed text without quotes.
func (m *Machine) asRoot(script string) (line, input string) {
	line = "exec " + m.sudo + "sh -c '" + script + "'"
	if m.sudo == sudoPassword {
		input = m.c.SudoPassword + "\n"
	}
	return line, input
}

// output runs a command line and returns what it prints.
func (l *link) output(ctx context.Context, line, input string) (string, error) {
	s, err := l.session()
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	s.Stdin = strings.NewReader(input)
	out, err := s.CombinedOutput(line)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return string(out), err
}

// How the connection is watched: a dead one is given up after three answers
// that did not come.
const (
	aliveEvery = 5 * time.Second
	aliveMost  = 20 * time.Second
)

// keepAlive asks the machine for an answer now and then, and ends a connection
// on which none comes.
func (l *link) keepAlive() {
	ticker := time.NewTicker(aliveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-l.gone:
			return
		case <-ticker.C:
		}
		answer := make(chan error, 1)
		go func() {
			_, _, err := l.client.SendRequest("keepalive@openssh.com", true, nil)
			answer <- err
		}()
		select {
		case <-answer:
		case <-l.gone:
			return
		case <-time.After(aliveMost):
			_ = l.client.Close() // whoever uses it finds out
			return
		}
	}
}

// current returns the connection, made anew if it has broken. What the last
// command left is gone.
func (m *Machine) current(ctx context.Context) (*link, error) {
	m.mu.Lock()
	l, closed, tidy := m.link, m.closed, m.tidy
	m.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if tidy != nil {
		select {
		case <-tidy:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if l != nil && l.alive() {
		return l, nil
	}
	return m.connect(ctx, quiet{})
}

// quiet is a logger of what nobody waits for.
type quiet struct{}

func (quiet) Write(p []byte) (int, error)   { return len(p), nil }
func (quiet) Progress(string, int64, int64) {}

// Sync makes the machine write all that it holds to its disks, to where boot loaders
// find it.
func (m *Machine) Sync(ctx context.Context) error {
	l, err := m.current(ctx)
	said := ""
	if err == nil {
		said, err = l.control.do(ctx, "sync; eval "+quote(FlushLogs)+`; flush_logs 2>&1 || echo "the log of an XFS is not flushed"`)
	}
	if err == nil && strings.TrimSpace(said) != "" {
		err = errors.New(strings.Join(strings.Fields(said), " "))
	}
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// SetSigners sets what later connections prove who one is with.
func (m *Machine) SetSigners(signers ...xssh.Signer) {
	m.keyMu.Lock()
	defer m.keyMu.Unlock()
	m.signers = signers
}

// HostKey returns the machine's host key.
func (m *Machine) HostKey() xssh.PublicKey {
	m.keyMu.Lock()
	defer m.keyMu.Unlock()
	return m.hostKey
}

// Reconnect drops the connection and makes a new one.
func (m *Machine) Reconnect(ctx context.Context) error {
	m.drop()
	_, err := m.current(ctx)
	return err
}

// dropLink ends a connection that is of no more use.
func (m *Machine) dropLink(l *link) {
	m.mu.Lock()
	if m.link == l {
		m.link = nil
	}
	m.mu.Unlock()
	_ = l.client.Close() // it may have broken already
	<-l.gone
}

// drop ends the connection.
func (m *Machine) drop() {
	m.mu.Lock()
	l := m.link
	m.link = nil
	m.mu.Unlock()
	if l != nil {
		_ = l.client.Close() // it may have broken already
		<-l.gone
	}
}

// Dial connects to an address from within the machine.
func (m *Machine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	l, err := m.current(ctx)
	if err != nil {
		return nil, err
	}
	return unlessGone(l, func() (net.Conn, error) { return l.client.DialContext(ctx, network, address) })
}

// Close ends the connection. The machine goes on.
func (m *Machine) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	m.mu.Unlock()
	m.drop()
	if m.agentConn != nil {
		return m.agentConn.Close()
	}
	return nil
}

// waitCloudInit waits until cloud-init is done with this start of the machine.
// The file with the result is the last thing that it writes.
func (m *Machine) waitCloudInit(ctx context.Context, l *link, out platforms.Logger) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.c.timeout(), errTimeout)
	defer cancel()
	state, err := l.control.do(ctx, `if [ -e /run/cloud-init/enabled ] && [ ! -e /run/cloud-init/result.json ]; then echo runs; fi`)
	if err != nil {
		return err
	}
	if strings.TrimSpace(state) == "runs" {
		out.Progress("wait for cloud-init", 0, 0)
	}
	for strings.TrimSpace(state) == "runs" {
		if state, err = l.control.do(ctx, `i=0; while [ ! -e /run/cloud-init/result.json ] && [ $i -lt 10 ]; do sleep 0.2; i=$((i+1)); done; [ -e /run/cloud-init/result.json ] || echo runs`); err != nil {
			if errors.Is(err, errTimeout) {
				err = fmt.Errorf("waited %v for cloud-init to end", m.c.timeout())
			}
			return m.c.withConsole(err)
		}
	}
	failed, err := l.control.do(ctx, `[ ! -e /run/cloud-init/result.json ] || tr -d " \n" </run/cloud-init/result.json | grep -q "\"errors\":\[\]" || cat /run/cloud-init/result.json`)
	if err != nil || strings.TrimSpace(failed) == "" {
		return err
	}
	_, err = io.WriteString(out, "cloud-init has failed in part: "+strings.Join(strings.Fields(failed), " ")+"\n")
	return err
}
