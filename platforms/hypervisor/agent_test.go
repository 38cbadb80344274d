package hypervisor

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// answering returns a connection to a guest agent that says answer and hangs up.
func answering(t *testing.T, answer []byte) *net.UnixConn {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	guest, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan struct{})
	go func() {
		defer close(said)
		_, _ = guest.Write(answer) // ends with the connection
		_ = guest.(*net.UnixConn).CloseWrite()
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-said
		_ = guest.Close()
	})
	return conn.(*net.UnixConn)
}

// TestAgentAnswers has a guest that never ends its line: what it says takes no more
// memory than an answer may have.
func TestAgentAnswers(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"nothing":         {"", "EOF"},
		"not JSON":        {"login: \n", "invalid character"},
		"an endless line": {strings.Repeat("x", 2*MaxAnswer), "more than"},
		"only stale ones": {strings.Repeat("{\"return\":1}\n", 100), "EOF"},
	} {
		_, err := Agent{answering(t, []byte(c.answer))}.Call("guest-ping")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// FuzzAgent has whatever a guest says for its agent end in an error, as it does not
// know the number that is asked for.
func FuzzAgent(f *testing.F) {
	f.Add([]byte("{\"return\":1}\n{\"return\":{}}\n"))
	f.Add([]byte("{\"error\":{\"desc\":\"no\"}}\n"))
	f.Add([]byte("\xff{\"return\":"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		got, err := Agent{answering(t, answer)}.Call("guest-ping")
		var told *AgentError
		if err == nil || errors.As(err, &told) {
			t.Errorf("%q was taken for the answer %s, %v", answer, got, err)
		}
	})
}
