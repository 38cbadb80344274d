package ssh

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	xssh "golang.org/x/crypto/ssh"
)

// pipe executes a line of shell as root. in follows on its input and may be nil.
// A line that fails gives what it said.
func (m *Machine) pipe(ctx context.Context, l *link, script string, in io.Reader, out io.Writer) error {
	s, err := l.session()
	if err != nil {
		return m.broke(ctx, l, err)
	}
	defer func() { _ = s.Close() }() // it has ended, as a rule
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	line, input := m.asRoot(bootstrap)
	stdin, err := s.StdinPipe()
	if err != nil {
		return err
	}
	said := &tail{}
	s.Stdout, s.Stderr = out, said
	if err := s.Start(line); err != nil {
		return m.broke(ctx, l, err)
	}
	sent := make(chan error, 1)
	go func() { sent <- send(stdin, input+systemPath+"; "+script+"\n", in) }()
	err = s.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		return <-sent
	}
	if source := (*sourceError)(nil); asSource(sent, &source) {
		return source.err
	}
	if exit, ok := err.(*xssh.ExitError); ok {
		return said.explain(fmt.Errorf("exit status %d", exit.ExitStatus()))
	}
	return m.broke(ctx, l, err)
}

// A sourceError is a failure of what is sent, and not of the machine.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }

// asSource reports whether sending has failed for a reason of its own.
func asSource(sent <-chan error, target **sourceError) bool {
	select {
	case err := <-sent:
		e, ok := err.(*sourceError)
		*target = e
		return ok
	default:
		return false
	}
}

// send writes the line and then in. What the other side does not want to read is
// no failure.
func send(w io.WriteCloser, line string, in io.Reader) error {
	defer func() { _ = w.Close() }() // the other side may be gone
	if _, err := io.WriteString(w, line); err != nil || in == nil {
		return nil
	}
	buf := make([]byte, 256<<10)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return nil // its exit status says why
			}
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return &sourceError{err}
		}
	}
}

// A tail keeps the last of what a program says.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-4<<10):]
	return len(p), nil
}

// explain puts the last line before err.
func (t *tail) explain(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := lastLine(strings.ToValidUTF8(string(t.b), "?"))
	if line == "" {
		return err
	}
	return fmt.Errorf("%s (%w)", line, err)
}
