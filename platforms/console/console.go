// Package console is the serial port of a virtual machine, for every hypervisor that
// gives it as a stream: what came last, its log, waiting for a line, a terminal.
package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
)

// Bounds of what is remembered of a console.
const (
	consoleBytes = 1 << 20
	tailLines    = 20
)

// A Console is the serial port of a machine.
type Console struct {
	conn io.ReadWriteCloser
	log  *os.File // may be nil
	done chan struct{}
	fail func(error) // is told of a kernel's panic

	mu     sync.Mutex
	text   []byte // the last of what came, without carriage returns
	cut    int    // bytes that came before text
	more   chan struct{}
	viewer io.Writer // gets what comes; may be nil
	logErr error
}

// New takes over conn and log, which may be nil, and reads until the
// machine ends. fail is called when a kernel panics.
func New(conn io.ReadWriteCloser, log *os.File, fail func(error)) *Console {
	c := &Console{conn: conn, log: log, done: make(chan struct{}), more: make(chan struct{}), fail: fail}
	go c.read()
	return c
}

func (c *Console) read() {
	defer close(c.done)
	buf := make([]byte, 32<<10)
	for {
		n, err := c.conn.Read(buf)
		if n > 0 {
			c.take(buf[:n])
		}
		if err != nil {
			return // the machine has ended
		}
	}
}

func (c *Console) take(p []byte) {
	if why := c.keep(p); why != "" {
		c.fail(errors.New("the guest's kernel panicked: " + why))
	}
}

// keep remembers p and returns what a panic says in the line that ends in it.
func (c *Console) keep(p []byte) (panicked string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log != nil && c.logErr == nil {
		_, c.logErr = c.log.Write(p)
	}
	if c.viewer != nil {
		if _, err := c.viewer.Write(p); err != nil {
			c.viewer = nil // Attach sees that its terminal is gone
		}
	}
	c.text = append(c.text, bytes.ReplaceAll(p, []byte("\r"), nil)...)
	if extra := len(c.text) - consoleBytes; extra > consoleBytes/4 {
		c.text, c.cut = append([]byte(nil), c.text[extra:]...), c.cut+extra
	}
	close(c.more)
	c.more = make(chan struct{})
	recent := c.text[max(0, len(c.text)-len(p)-1<<10):]
	if i := bytes.LastIndex(recent, []byte(panicMark)); i >= 0 {
		line, _, whole := bytes.Cut(recent[i+len(panicMark):], []byte("\n"))
		if whole {
			return strings.TrimSpace(strings.TrimLeft(plain(line), ":- "))
		}
	}
	return ""
}

// panicMark is how Linux begins to tell of a panic.
const panicMark = "Kernel panic - not syncing"

// Close ends the console and its log.
func (c *Console) Close() error {
	err := c.conn.Close()
	<-c.done
	if c.log != nil {
		err = errors.Join(err, c.logErr, c.log.Close())
	}
	return err
}

// escapes are the sequences with which programs move about on a terminal.
var escapes = regexp.MustCompile(`\x1b(\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|[=>78cDEHM])|[\x00-\x08\x0b\x0c\x0e-\x1a]`)

func plain(text []byte) string { return escapes.ReplaceAllString(string(text), "") }

// Text returns what is remembered of what came, as it came but for carriage returns.
func (c *Console) Text() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.text)
}

// Tail returns the last lines.
func (c *Console) Tail() []string {
	c.mu.Lock()
	text := c.text[max(0, len(c.text)-16<<10):]
	s := plain(text)
	c.mu.Unlock()
	var lines []string
	for _, line := range strings.Split(s, "\n") {
		if line = strings.TrimRight(line, " \t"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-tailLines):]
}

// Wait returns when a line matches.
func (c *Console) Wait(ctx context.Context, match *regexp.Regexp) error {
	from := 0 // where the first line begins that was not looked at
	for {
		ended := false
		select {
		case <-c.done:
			ended = true
		default:
		}
		c.mu.Lock()
		from = max(from, c.cut)
		text, more := string(c.text[from-c.cut:]), c.more
		c.mu.Unlock()
		for line := range strings.SplitSeq(plain([]byte(text)), "\n") {
			if match.MatchString(line) {
				return nil
			}
		}
		if ended {
			return errors.New("the machine has stopped")
		}
		from += strings.LastIndexByte(text, '\n') + 1
		select {
		case <-more:
		case <-c.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Follow writes what comes to w, as plain text, until the machine stops.
func (c *Console) Follow(w io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.viewer = &plainWriter{w: w}
}

// A plainWriter writes whole lines without what moves a cursor.
type plainWriter struct {
	w    io.Writer
	rest []byte
}

func (p *plainWriter) Write(b []byte) (int, error) {
	p.rest = append(p.rest, bytes.ReplaceAll(b, []byte("\r"), nil)...)
	end := bytes.LastIndexByte(p.rest, '\n') + 1
	if end == 0 && len(p.rest) < 4<<10 {
		return len(b), nil
	}
	if end == 0 {
		end = len(p.rest)
	}
	_, err := io.WriteString(p.w, plain(p.rest[:end]))
	p.rest = append([]byte(nil), p.rest[end:]...)
	return len(b), err
}

// Attach connects the console to in and out until in or ctx ends or the machine
// stops.
func (c *Console) Attach(ctx context.Context, in io.Reader, out io.Writer) error {
	c.mu.Lock()
	_, err := out.Write(c.text[max(0, len(c.text)-4<<10):])
	c.viewer = out
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.viewer = nil
		c.mu.Unlock()
	}()
	if err != nil {
		return err
	}
	typed := make(chan error, 1)
	go func() {
		_, err := io.Copy(c.conn, in)
		typed <- err
	}()
	select {
	case err := <-typed:
		select {
		case <-c.done:
			return nil
		default:
			return err
		}
	case <-c.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
