package hypervisor

import (
	"errors"
	"io"
	"net"
	"testing"
)

// listening accepts connections on the loopback, and hands them to serve.
func listening(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close() // once is enough
		<-ended
	})
	return l.Addr().String()
}

// TestState has connections end with a start of the guest and with the machine, and the
// first reason count.
func TestState(t *testing.T) {
	silent := listening(t, func(c net.Conn) {
		_, _ = io.Copy(io.Discard, c) // until the other end closes
		_ = c.Close()
	})
	var s State
	broken := func(c net.Conn) {
		t.Helper()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the connection is open: %v", err)
		}
	}
	first, err := s.Dial(t.Context(), silent)
	if err != nil {
		t.Fatal(err)
	}
	s.Restarted()
	broken(first)
	second, err := s.Dial(t.Context(), silent)
	if err != nil || s.Restarts() != 1 || s.Alive() != nil {
		t.Fatalf("after a restart: %v, %d restarts, %v", err, s.Restarts(), s.Alive())
	}
	closed, err := s.Dial(t.Context(), silent)
	if err := errors.Join(err, closed.Close()); err != nil {
		t.Fatal(err)
	}
	if len(s.conns) != 1 {
		t.Errorf("%d connections are known", len(s.conns))
	}
	panicked := errors.New("the guest panicked")
	s.Fail(panicked)
	s.Fail(errors.New("QEMU has ended"))
	broken(second)
	if _, err := s.Dial(t.Context(), silent); !errors.Is(err, panicked) || !errors.Is(s.Alive(), panicked) {
		t.Errorf("after its end: %v, %v", err, s.Alive())
	}
}
