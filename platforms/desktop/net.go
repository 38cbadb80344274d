package desktop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"bake.build/bake/platforms/wait"
)

const sshPort = 22

// dialSSH connects to the machine's SSH server.
func (m *machine) dialSSH(ctx context.Context) (net.Conn, error) { return m.dialPort(ctx, sshPort) }

// dialPort connects to a port of the machine.
func (m *machine) dialPort(ctx context.Context, port int) (net.Conn, error) {
	address, err := m.reach(ctx, port)
	if err != nil {
		return nil, err
	}
	return m.Dial(ctx, address)
}

// Forwarded implements platforms.Forwarder.
func (m *machine) Forwarded(ctx context.Context, port int) (string, error) {
	if m.forwards != nil {
		if address, err := m.forwards.Address(port); err == nil {
			return address, nil
		}
	}
	return m.reach(ctx, port)
}

// Times of looking at a port.
const (
	portPause = 200 * time.Millisecond
	portHolds = 500 * time.Millisecond // how long a connection stays that the guest has accepted
)

// WaitPort implements platforms.PortWaiter. A hypervisor's network may accept a
// connection before it knows whether the guest does, and breaks it off then.
func (m *machine) WaitPort(ctx context.Context, port int) error {
	for {
		open, err := m.accepts(ctx, port)
		if err == nil && open {
			return nil
		}
		if alive := m.Alive(); alive != nil {
			return fmt.Errorf("port %d: %w", port, alive)
		}
		if err := wait.Pause(ctx, portPause); err != nil {
			return fmt.Errorf("port %d: nothing accepts connections: %w", port, err)
		}
	}
}

// accepts reports whether a connection to the port stays.
func (m *machine) accepts(ctx context.Context, port int) (open bool, err error) {
	conn, err := m.dialPort(ctx, port)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetReadDeadline(time.Now().Add(portHolds)); err != nil {
		return false, err
	}
	_, err = conn.Read(make([]byte, 1))
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return true, nil
	}
	return false, err
}
