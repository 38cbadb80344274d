package ssh

import (
	"fmt"

	xssh "golang.org/x/crypto/ssh"
)

// A prewarmed is a session whose shell has started and waits for its line. Starting
// one takes a slow machine longer than many commands run; so the next one is
// started while the caller looks at the last one's result.
type prewarmed struct {
	xssh.Channel // standard input and output
	ended        chan struct{}
	end          ending // once ended is closed
}

// An ending is how a command ended.
type ending struct {
	known  bool // false when the connection ended first
	code   int
	signal string // as SSH names it; "" when the command exited by itself
}

// prewarm starts a session (RFC 4254, 6). The client library's own sessions
// tell of a command's end only when nothing holds its output open any more.
func (m *Machine) prewarm(l *link) (*prewarmed, error) {
	b, err := unlessGone(l, func() (*prewarmed, error) {
		ch, requests, err := l.client.OpenChannel("session", nil)
		if err != nil {
			return nil, err
		}
		b := &prewarmed{Channel: ch, ended: make(chan struct{})}
		go b.listen(requests)
		return b, nil
	})
	if err != nil {
		return nil, err
	}
	line, _ := m.asRoot(bootstrap)
	ok, err := b.SendRequest("exec", true, xssh.Marshal(struct{ Command string }{line}))
	if err == nil && !ok {
		err = fmt.Errorf("the machine refuses to run commands")
	}
	if err != nil {
		b.abandon()
		return nil, err
	}
	return b, nil
}

// listen waits for the end of the command.
func (b *prewarmed) listen(requests <-chan *xssh.Request) {
	told := false
	for r := range requests {
		var status struct{ Code uint32 }
		var signal struct {
			Signal     string
			CoreDumped bool
			Error      string
			Lang       string
		}
		switch {
		case told:
		case r.Type == "exit-status" && xssh.Unmarshal(r.Payload, &status) == nil:
			b.end, told = ending{known: true, code: int(status.Code)}, true
			close(b.ended)
		case r.Type == "exit-signal" && xssh.Unmarshal(r.Payload, &signal) == nil:
			b.end, told = ending{known: true, signal: signal.Signal}, true
			close(b.ended)
		}
		if r.WantReply {
			_ = r.Reply(false, nil) // the connection may be gone
		}
	}
	if !told {
		close(b.ended)
	}
}

// abandon ends the session, unless it has ended.
func (b *prewarmed) abandon() { _ = b.Channel.Close() }

// A prepared is the session of the next command, which may still be starting.
type prepared struct {
	done chan struct{} // closed when it has started, or cannot
	b    *prewarmed
	err  error
}

// prepare begins to start the session of the next command, unless there is one.
func (m *Machine) prepare(l *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next != nil {
		return
	}
	p := &prepared{done: make(chan struct{})}
	l.next = p
	go func() {
		defer close(p.done)
		p.b, p.err = m.prewarm(l)
	}()
}

// prewarmedOf returns the session that was prepared, or a new one.
func (m *Machine) prewarmedOf(l *link) (*prewarmed, error) {
	l.mu.Lock()
	p := l.next
	l.next = nil
	l.mu.Unlock()
	if p != nil {
		if <-p.done; p.err == nil {
			return p.b, nil
		}
	}
	return m.prewarm(l)
}
