package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/ssh"
	"bake.build/bake/platforms/wait"
)

// A Cloud is what clouds do differently with one instance. Its methods may be called at
// once.
type Cloud interface {
	// Gone returns why the instance does not run any more, or nil where it does and
	// where the cloud does not tell.
	Gone(ctx context.Context) error

	// Snapshot begins the layer of the instance's disk as it is, and says what it is
	// called: "" where the cloud asks to wait and nobody needs the layer.
	Snapshot(ctx context.Context, s platforms.State) (ref string, err error)

	// Await waits until a layer is complete. remote.ErrFailed is part of the error of
	// one that will never be.
	Await(ctx context.Context, ref string) error

	// Discard removes a layer that has failed.
	Discard(ctx context.Context, ref string) error

	// End ends the instance and its record. It need not wait until it is gone.
	End() error
}

// A Config says how to use an instance.
type Config struct {
	Name   string // of the instance, for users; such as "eu-west-1: instance i-1"
	Cloud  Cloud
	SSH    ssh.Config       // Alive is the package's
	Key    *ssh.Key         // the build's, which no layer has
	Traits platforms.Traits // of layers
	Layers *remote.Cache
	Policy remote.Policy
	Every  time.Duration // how often the cloud is asked at most whether the instance runs
}

// A Machine is an instance in use. See platforms.Machine.
type Machine struct {
	c    Config
	ssh  *ssh.Machine
	host string          // where the instance is reached
	life context.Context // of the build: waiting for the cloud ends with it

	since  time.Time      // of the work that no layer has
	making sync.WaitGroup // layers that the cloud is still making

	mu     sync.Mutex
	closed bool
	asking bool      // the cloud is being asked how the instance is
	looked time.Time // when it was last asked that
	gone   error     // why the instance does not run any more
	lost   []error   // of layers that were begun
}

var (
	_ platforms.Machine    = (*Machine)(nil)
	_ platforms.Rebooter   = (*Machine)(nil)
	_ platforms.Sheller    = (*Machine)(nil)
	_ platforms.PortWaiter = (*Machine)(nil)
)

// Open waits until an instance that runs can be used. ctx is that of the build. Where it
// fails, the instance is the caller's to end.
func Open(ctx context.Context, c Config, out platforms.Logger) (_ *Machine, err error) {
	m := &Machine{c: c, life: ctx}
	if m.host, _, err = net.SplitHostPort(c.SSH.Address); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	c.SSH.Alive = m.alive
	if m.ssh, err = ssh.Connect(ctx, c.SSH, out); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	m.since = time.Now()
	return m, nil
}

// alive returns why the instance does not run any more. The cloud is asked now and then
// only, and by one at a time.
func (m *Machine) alive() error {
	m.mu.Lock()
	gone, known := m.gone, m.gone != nil || m.asking || time.Since(m.looked) < m.c.Every
	m.asking = m.asking || !known
	m.mu.Unlock()
	if known {
		return gone
	}
	return m.look(m.life)
}

// lookTime bounds a look at how the instance is.
const lookTime = 20 * time.Second

// look asks the cloud why the instance does not run any more.
func (m *Machine) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	gone := m.c.Cloud.Gone(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looked, m.asking = time.Now(), false
	if gone != nil {
		m.gone = gone
	}
	return m.gone
}

// explain adds to an error what the cloud knows of its cause.
func (m *Machine) explain(ctx context.Context, err error) error {
	exit := (*platforms.ExitError)(nil)
	if err == nil || errors.As(err, &exit) || ctx.Err() != nil {
		return err
	}
	if gone := m.look(ctx); gone != nil {
		return fmt.Errorf("%s: %w", m.c.Name, gone)
	}
	return err
}

// Run implements platforms.Machine.
func (m *Machine) Run(ctx context.Context, c platforms.Cmd) error {
	return m.explain(ctx, m.ssh.Run(ctx, c))
}

// Write implements platforms.Machine.
func (m *Machine) Write(ctx context.Context, dst string, tar io.Reader) error {
	return m.explain(ctx, m.ssh.Write(ctx, dst, tar))
}

// Read implements platforms.Machine.
func (m *Machine) Read(ctx context.Context, src string, tar io.Writer) error {
	return m.explain(ctx, m.ssh.Read(ctx, src, tar))
}

// Shell implements platforms.Sheller.
func (m *Machine) Shell(ctx context.Context, c platforms.Cmd) error { return m.ssh.Shell(ctx, c) }

// Reboot implements platforms.Rebooter.
func (m *Machine) Reboot(ctx context.Context) error { return m.explain(ctx, m.ssh.Reboot(ctx)) }

// portPause is the first pause before a port is looked at again.
const portPause = 100 * time.Millisecond

// WaitPort implements platforms.PortWaiter. The port is looked at from within the
// instance, whose firewall need not let anybody else in.
func (m *Machine) WaitPort(ctx context.Context, port int) error {
	loop := wait.Loop{What: fmt.Sprintf("port %d", port), Backoff: wait.Backoff{Next: portPause, Most: time.Second}}
	err := loop.Until(ctx, func(ctx context.Context) (bool, error) {
		for _, host := range []string{"127.0.0.1", m.host} {
			conn, err := m.ssh.Dial(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
			if err == nil {
				return true, conn.Close()
			}
		}
		return false, m.alive()
	})
	if ctx.Err() != nil && err != nil {
		return fmt.Errorf("port %d: nothing accepts connections: %w", port, context.Cause(ctx))
	}
	return err
}

// Close implements platforms.Machine. The instance ends when the cloud has made the
// layers of it, or at once when the build is cancelled. An error tells of those that
// it could not make, too.
func (m *Machine) Close() error {
	m.mu.Lock()
	closed := m.closed
	m.closed = true
	m.mu.Unlock()
	if closed {
		return nil
	}
	err := m.ssh.Close()
	m.Settle()
	return errors.Join(append([]error{err}, append(m.lost, m.c.Cloud.End())...)...)
}
