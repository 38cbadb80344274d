package hypervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"

	"bake.build/bake/platforms"
)

// loopback is the only address of this host that leads into machines.
const loopback = "127.0.0.1"

// CheckPorts says which of the host's ports are not free, for a hypervisor that forwards
// them itself.
func CheckPorts(list []platforms.Forward) error {
	f, err := Forward(list, nil)
	if err != nil {
		return err
	}
	return f.Close()
}

// Forwards are ports of this host's loopback that lead into a machine.
type Forwards struct {
	dial  func(ctx context.Context, port int) (net.Conn, error)
	ports map[int]net.Listener // by the machine's port

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup
}

// Forward opens ports of this host, which dial connects to the machine's, for a
// hypervisor that does not do so itself. It fails where a port is not free.
func Forward(list []platforms.Forward, dial func(ctx context.Context, port int) (net.Conn, error)) (*Forwards, error) {
	f := &Forwards{dial: dial, ports: map[int]net.Listener{}}
	f.ctx, f.stop = context.WithCancel(context.Background())
	var listeners []net.Listener
	for _, p := range list {
		l, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(p.Host)))
		if err != nil {
			f.stop()
			return nil, errors.Join(fmt.Errorf("forward a local port to the machine's port %d: %w", p.Guest, err), closeAll(listeners))
		}
		listeners = append(listeners, l)
		f.ports[p.Guest] = l
		f.work.Go(func() { f.serve(l, p.Guest) })
	}
	context.AfterFunc(f.ctx, func() { _ = closeAll(listeners) }) // what waits there ends
	return f, nil
}

func closeAll(listeners []net.Listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Address returns the address of this host that leads to the machine's port, for
// platforms.Forwarder.
func (f *Forwards) Address(port int) (string, error) {
	l, ok := f.ports[port]
	if !ok {
		return "", fmt.Errorf("no local port is forwarded to the machine's port %d", port)
	}
	return l.Addr().String(), nil
}

// Close ends the forwarding with all connections.
func (f *Forwards) Close() error {
	f.stop()
	f.work.Wait()
	return nil
}

func (f *Forwards) serve(l net.Listener, port int) {
	for {
		outer, err := l.Accept()
		if err != nil {
			return // it is closed
		}
		f.work.Go(func() {
			defer outer.Close()
			inner, err := f.dial(f.ctx, port)
			if err != nil {
				return // the client sees that nobody answers
			}
			defer inner.Close()
			defer context.AfterFunc(f.ctx, func() {
				_ = outer.Close() // the copying ends
				_ = inner.Close()
			})()
			var both sync.WaitGroup
			both.Go(func() { pass(inner, outer) })
			both.Go(func() { pass(outer, inner) })
			both.Wait()
		})
	}
}

// pass copies what comes from src to dst, and then says that there is no more. A
// connection that breaks ends both ways.
func pass(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	half, ok := dst.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = dst.Close() // the other way finds out
		_ = src.Close()
	}
}
