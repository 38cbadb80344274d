//go:build unix

package qmp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair returns two ends of a connection.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]*net.UnixConn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
		t.Cleanup(func() { _ = c.Close() }) // closed by the client as a rule
	}
	return conns[0], conns[1]
}

// request is what the server reads.
type request struct {
	Execute   string
	Arguments map[string]any
	ID        int
}

// serve answers as QEMU does: it greets, and for each command calls answer,
// whose lines it sends with %d replaced by the command's id.
func serve(t *testing.T, conn *net.UnixConn, answer func(request) []string) {
	t.Helper()
	go func() {
		fmt.Fprintln(conn, `{"QMP": {"version": {}, "capabilities": []}}`)
		lines := bufio.NewScanner(conn)
		for lines.Scan() {
			var r request
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				t.Errorf("the client sent %q: %v", lines.Text(), err)
			}
			if r.Execute == "qmp_capabilities" {
				fmt.Fprintf(conn, "{\"return\": {}, \"id\": %d}\n", r.ID)
				continue
			}
			for _, line := range answer(r) {
				fmt.Fprintf(conn, line+"\n", r.ID)
			}
		}
	}()
}

func TestRun(t *testing.T) {
	a, b := pair(t)
	serve(t, b, func(r request) []string {
		switch r.Execute {
		case "query-status":
			return []string{`{"event": "RESUME", "data": {"n": 1}, "x": %d}`, `{"return": {"status": "running"}, "id": %d}`}
		}
		return []string{`{"error": {"class": "GenericError", "desc": "no such thing"}, "id": %d}`}
	})
	events := make(chan Event, 1)
	c, err := New(t.Context(), a, func(e Event) { events <- e })
	if err != nil {
		t.Fatal(err)
	}
	var status struct{ Status string }
	if err := c.Run(t.Context(), "query-status", nil, &status); err != nil || status.Status != "running" {
		t.Errorf("got %+v, %v", status, err)
	}
	if e := <-events; e.Name != "RESUME" || string(e.Data) != `{"n": 1}` {
		t.Errorf("got the event %+v", e)
	}
	failed := (*Error)(nil)
	if err := c.Run(t.Context(), "blockdev-add", map[string]string{"driver": "x"}, nil); !errors.As(err, &failed) || failed.Command != "blockdev-add" || failed.Desc != "no such thing" {
		t.Errorf("got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Run(t.Context(), "query-status", nil, nil); err == nil {
		t.Error("a command ran on a closed connection")
	}
}

func TestEnds(t *testing.T) {
	t.Run("QEMU goes", func(t *testing.T) {
		a, b := pair(t)
		serve(t, b, func(request) []string {
			_ = b.Close() // what the test is about
			return nil
		})
		c, err := New(t.Context(), a, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Run(t.Context(), "stop", nil, nil); !errors.Is(err, errClosed) {
			t.Errorf("got %v", err)
		}
		<-c.Done()
	})
	t.Run("no greeting", func(t *testing.T) {
		a, _ := pair(t)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := New(ctx, a, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no JSON", func(t *testing.T) {
		a, b := pair(t)
		if _, err := io.WriteString(b, "{hello\n"); err != nil {
			t.Fatal(err)
		}
		syntax := (*json.SyntaxError)(nil)
		if _, err := New(t.Context(), a, nil); !errors.As(err, &syntax) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSendFile(t *testing.T) {
	a, b := pair(t)
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("content"); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		fmt.Fprintln(b, `{"QMP": {}}`)
		buf, oob := make([]byte, 4096), make([]byte, 128)
		if n, err := b.Read(buf); err != nil || n == 0 {
			got <- fmt.Sprint(err)
			return
		}
		fmt.Fprintln(b, `{"return": {}, "id": 1}`)
		_, n, _, _, err := b.ReadMsgUnix(buf, oob)
		if err != nil {
			got <- err.Error()
			return
		}
		messages, err := syscall.ParseSocketControlMessage(oob[:n])
		if err != nil || len(messages) != 1 {
			got <- fmt.Sprint("messages: ", len(messages), err)
			return
		}
		fds, err := syscall.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			got <- fmt.Sprint("rights: ", fds, err)
			return
		}
		file := os.NewFile(uintptr(fds[0]), "file")
		defer file.Close()
		data, err := io.ReadAll(io.NewSectionReader(file, 0, 100))
		if err != nil {
			got <- err.Error()
			return
		}
		fmt.Fprintln(b, `{"return": {}, "id": 2}`)
		got <- string(data)
	}()
	c, err := New(t.Context(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SendFile(t.Context(), "state", f); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "content" {
		t.Errorf("the server got %q", s)
	}
}

// FuzzMessages answers with any bytes: a command ends with what they say, or with an
// error, as soon as the connection does.
func FuzzMessages(f *testing.F) {
	const greeting = `{"QMP": {}}` + "\n"
	f.Add([]byte(greeting + `{"return": {}, "id": 1}` + "\n"))
	f.Add([]byte(greeting + `{"error": null, "id": 1}` + "\n"))
	f.Add([]byte(greeting + `{"return": 1, "error": {"desc": "x"}, "id": 1}` + "\n" + `{"id": 7}` + "\n"))
	f.Add([]byte(`{"event": "RESET"}` + "\n" + greeting + greeting))
	f.Add([]byte("[]\n{\x00"))
	f.Fuzz(func(t *testing.T, said []byte) {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		var ends [2]*net.UnixConn
		for i, fd := range fds {
			file := os.NewFile(uintptr(fd), "socket")
			conn, err := net.FileConn(file)
			if err := errors.Join(err, file.Close()); err != nil {
				t.Fatal(err)
			}
			ends[i] = conn.(*net.UnixConn)
		}
		go func() {
			_, _ = ends[1].Write(said) // the client may have had enough
			_ = ends[1].CloseWrite()
			_, _ = io.Copy(io.Discard, ends[1])
			_ = ends[1].Close()
		}()
		c, err := New(t.Context(), ends[0], func(Event) {})
		if err != nil {
			_ = ends[0].Close()
			return
		}
		if err := c.Run(t.Context(), "query-status", nil, nil); err == nil && !bytes.Contains(said, []byte("2")) {
			t.Errorf("nothing answered the second command, and it succeeded: %q", said)
		}
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}
