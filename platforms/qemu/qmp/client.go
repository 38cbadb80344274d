package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
)

// A Client is a connection to one QEMU. Its methods are safe for concurrent
// use.
type Client struct {
	conn  *net.UnixConn
	event func(Event)
	done  chan struct{}

	mu      sync.Mutex
	next    int
	waiting map[int]chan reply
	err     error // why done was closed
}

// An Event is something that QEMU tells by itself, such as "SHUTDOWN".
type Event struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

// An Error is a command's failure, in QEMU's words.
type Error struct {
	Command string
	Class   string `json:"class"`
	Desc    string `json:"desc"`
}

func (e *Error) Error() string { return fmt.Sprintf("qmp: %s: %s", e.Command, e.Desc) }

type reply struct {
	Return json.RawMessage `json:"return"`
	Error  *Error          `json:"error"`
}

// message is any line that QEMU sends.
type message struct {
	Event
	reply
	Greeting json.RawMessage `json:"QMP"`
	ID       *int            `json:"id"`
}

// New takes over conn, reads the greeting and negotiates. event is called for
// each event, in order and by one goroutine; it must not call the client.
func New(ctx context.Context, conn *net.UnixConn, event func(Event)) (*Client, error) {
	c := &Client{conn: conn, event: event, done: make(chan struct{}), waiting: map[int]chan reply{}}
	greeted := make(chan struct{})
	go c.read(greeted)
	select {
	case <-greeted:
	case <-c.done:
		return nil, c.err
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), c.Close())
	}
	if err := c.Run(ctx, "qmp_capabilities", nil, nil); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Run executes a command. args is anything that is a JSON object, or nil; what
// QEMU returns is stored in result unless that is nil. A command that fails
// gives an *Error.
func (c *Client) Run(ctx context.Context, command string, args, result any) error {
	return c.run(ctx, command, args, result, nil)
}

// SendFile gives QEMU a descriptor of f, which it knows by name from then on
// (the command getfd).
func (c *Client) SendFile(ctx context.Context, name string, f *os.File) error {
	return c.run(ctx, "getfd", map[string]string{"fdname": name}, nil, f)
}

// Human executes a command of the human monitor and returns what it prints.
func (c *Client) Human(ctx context.Context, line string) (string, error) {
	var out string
	err := c.Run(ctx, "human-monitor-command", map[string]string{"command-line": line}, &out)
	return out, err
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

func (c *Client) run(ctx context.Context, command string, args, result any, f *os.File) error {
	answer := make(chan reply, 1)
	c.mu.Lock()
	c.next++
	id := c.next
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        int    `json:"id"`
	}{command, args, id})
	if err == nil {
		c.waiting[id] = answer
		err = c.write(append(line, '\n'), f)
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()
	if err != nil {
		return fmt.Errorf("qmp: %s: %w", command, err)
	}
	select {
	case r := <-answer:
		return r.decode(command, result)
	case <-ctx.Done():
		return fmt.Errorf("qmp: %s: %w", command, context.Cause(ctx))
	case <-c.done:
		select {
		case r := <-answer: // it was the last that QEMU said
			return r.decode(command, result)
		default:
		}
		return fmt.Errorf("qmp: %s: %w", command, c.err)
	}
}

// write sends a line, with a descriptor of f unless that is nil. c.mu is held.
func (c *Client) write(line []byte, f *os.File) error {
	if f == nil {
		_, err := c.conn.Write(line)
		return err
	}
	rights, err := rightsOf(f)
	if err != nil {
		return err
	}
	n, _, err := c.conn.WriteMsgUnix(line, rights, nil)
	if err == nil && n < len(line) {
		_, err = c.conn.Write(line[n:])
	}
	return err
}

func (r reply) decode(command string, result any) error {
	if r.Error != nil {
		r.Error.Command = command
		return r.Error
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(r.Return, result); err != nil {
		return fmt.Errorf("qmp: %s: read what it returns: %w", command, err)
	}
	return nil
}

// errClosed is the end of the connection, by either side.
var errClosed = errors.New("the connection to QEMU ended")

func (c *Client) read(greeted chan<- struct{}) {
	lines := bufio.NewReaderSize(c.conn, 1<<16)
	var err error
	for err == nil {
		var line string
		if line, err = lines.ReadString('\n'); err == nil && strings.TrimSpace(line) != "" {
			err = c.take([]byte(line), &greeted)
		}
	}
	if bad := (*json.SyntaxError)(nil); !errors.As(err, &bad) {
		err = errClosed
	}
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	close(c.done)
}

// take handles one line.
func (c *Client) take(line []byte, greeted *chan<- struct{}) error {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return err
	}
	switch {
	case m.Greeting != nil:
		if *greeted != nil {
			close(*greeted)
			*greeted = nil
		}
	case m.Name != "":
		if c.event != nil {
			c.event(m.Event)
		}
	case m.ID != nil:
		c.mu.Lock()
		answer := c.waiting[*m.ID]
		delete(c.waiting, *m.ID)
		c.mu.Unlock()
		if answer != nil {
			answer <- m.reply
		}
	}
	return nil
}
