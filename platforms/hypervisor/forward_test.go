package hypervisor

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"bake.build/bake/platforms"
)

// TestForward sends through a port of this host, ends one way before the other, and
// finds the port taken meanwhile.
func TestForward(t *testing.T) {
	// The machine answers when it has read all.
	machine := listening(t, func(c net.Conn) {
		all, err := io.ReadAll(c)
		if err == nil {
			_, err = c.Write([]byte("got " + string(all)))
		}
		if err := errors.Join(err, c.Close()); err != nil {
			t.Error(err)
		}
	})
	dial := func(ctx context.Context, port int) (net.Conn, error) {
		if port != 80 {
			return nil, errors.New("refused")
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", machine)
	}
	f, err := Forward([]platforms.Forward{{Guest: 80}, {Guest: 81}}, dial)
	if err != nil {
		t.Fatal(err)
	}
	connect := func(port int) net.Conn {
		t.Helper()
		address, err := f.Address(port)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(address, "127.0.0.1:") {
			t.Errorf("others of the network reach %s", address)
		}
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() }) // once more does no harm
		return c
	}
	c := connect(80)
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "got hello" {
		t.Errorf("answered %q, %v", got, err)
	}
	if _, err := connect(81).Read(make([]byte, 1)); err == nil {
		t.Error("a port of the machine that refuses answers")
	}
	if _, err := f.Address(22); err == nil {
		t.Error("a port that is not forwarded has an address")
	}

	address, err := f.Address(80)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := net.SplitHostPort(address)
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	same := []platforms.Forward{{Host: port, Guest: 8080}}
	if err := CheckPorts(same); err == nil || !strings.Contains(err.Error(), "forward a local port to the machine's port 8080: listen tcp 127.0.0.1:"+text) {
		t.Errorf("a port that is taken: %v", err)
	}
	open := connect(80)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := open.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives the forwarding")
	}
	if err := CheckPorts(append(same, platforms.Forward{Guest: 1})); err != nil {
		t.Errorf("after Close: %v", err)
	}
}
