package hypervisor

import (
	"context"
	"errors"
	"net"
	"sync"
)

// A State says whether a virtual machine can still be used, and has the connections into
// it: when a machine fails or starts anew, its own ends of them go, and nobody tells. The
// zero value is that of a machine in use. It is safe for concurrent use.
type State struct {
	mu       sync.Mutex
	failure  error
	restarts int
	conns    map[net.Conn]bool
}

// Fail notes why the machine is of no more use, and ends the connections to it. The first
// reason counts.
func (s *State) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.failure = err
	}
	s.drop()
}

// Alive returns why the machine is of no more use, or nil.
func (s *State) Alive() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// Restarted notes that the guest starts anew, and ends the connections to it.
func (s *State) Restarted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restarts++
	s.drop()
}

// Restarts counts how often the guest has started anew.
func (s *State) Restarts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts
}

func (s *State) drop() {
	for c := range s.conns {
		_ = c.Close() // who uses it finds out
	}
	clear(s.conns)
}

// Dial connects to a TCP port, "host:port", that leads into the machine. The connection
// ends with the machine.
func (s *State) Dial(ctx context.Context, address string) (net.Conn, error) {
	if err := s.Alive(); err != nil {
		return nil, err
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return nil, errors.Join(s.failure, c.Close())
	}
	if s.conns == nil {
		s.conns = map[net.Conn]bool{}
	}
	s.conns[c] = true
	return &ownedConn{Conn: c, state: s}, nil
}

// An ownedConn is forgotten by the machine when it is closed.
type ownedConn struct {
	net.Conn
	state *State
}

// Close implements net.Conn.
func (c *ownedConn) Close() error {
	c.state.mu.Lock()
	delete(c.state.conns, c.Conn)
	c.state.mu.Unlock()
	return c.Conn.Close()
}
