package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// pipe executes a line of shell as root. in follows on its input and may be nil.
// A line that fails gives what it said. When ctx ends it returns at once: the
// machine's side of the session ends only with the line, which may wait for
// something else than its input.
func (m *Machine) pipe(ctx context.Context, l *link, script string, in io.Reader, out io.Writer) error {
	b, err := m.prewarmedOf(l)
	if err != nil {
		return m.broke(ctx, l, err)
	}
	defer m.prepare(l)
	defer b.abandon()
	stop := context.AfterFunc(ctx, b.abandon)
	defer stop()
	_, input := m.asRoot(bootstrap)
	sent := make(chan error, 1)
	go feed(b, input+systemPath+"; "+script+"\n", in, sent)
	said, read := &tail{}, make(chan error, 2)
	gated := &gatedWriter{w: out}
	defer gated.shut()
	go func() {
		_, err := io.Copy(gated, b)
		if err != nil {
			b.abandon() // else the machine would wait for ever for its reader
		}
		read <- err
	}()
	go func() {
		_, err := io.Copy(said, b.Stderr())
		read <- err
	}()
	var readErr error
	for range 2 {
		select {
		case err := <-read:
			readErr = errors.Join(readErr, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	select {
	case <-b.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	switch source := (*sourceError)(nil); {
	case b.end.known && b.end.code == 0 && b.end.signal == "":
		return errors.Join(readErr, <-sent)
	case asSource(sent, &source):
		return source.err
	case b.end.signal != "":
		return said.explain(fmt.Errorf("ended by signal: %s", signalName(b.end.signal)))
	case b.end.known:
		return said.explain(fmt.Errorf("exit status %d", b.end.code))
	case readErr != nil:
		return readErr
	}
	return m.broke(ctx, l, io.ErrUnexpectedEOF)
}

// A gatedWriter writes nothing more once it is shut.
type gatedWriter struct {
	mu sync.Mutex
	w  io.Writer // nil once it is shut
}

func (g *gatedWriter) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.w == nil {
		return 0, io.ErrClosedPipe
	}
	return g.w.Write(p)
}

func (g *gatedWriter) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.w = nil
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

// A sink is what is written to a program, which then sees an end.
type sink interface {
	io.Writer
	CloseWrite() error
}

// feed writes the line and then in. How that went is known before the other side sees
// the end, and may fail for it.
func feed(w sink, line string, in io.Reader, sent chan<- error) {
	sent <- send(w, line, in)
	_ = w.CloseWrite() // the other side may be gone
}

// send writes the line and then in. What the other side does not want to read is
// no failure.
func send(w io.Writer, line string, in io.Reader) error {
	if _, err := io.WriteString(w, line); err != nil || in == nil {
		return nil
	}
	buf := make([]byte, pieceSize)
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
