package ssh

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"bake.build/bake/platforms"
)

// leftovers is how long the output of a command may stay open after its end.
const leftovers = 200 * time.Millisecond

// grace is how long a command has between SIGTERM and SIGKILL, in seconds.
const grace = 2

// Run runs one command to its end. See platforms.Machine.
func (m *Machine) Run(ctx context.Context, c platforms.Cmd) error {
	if len(c.Args) == 0 {
		return errors.New("run: no command")
	}
	verb := "run " + c.Args[0]
	if err := check(c); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	l, err := m.current(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	release, err := m.useCaches(ctx, l, c.Caches, c.Waiting)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	err = m.run(ctx, l, c)
	if errors.Is(err, errNotBegun) {
		// The connection had broken before; nobody had noticed yet.
		m.dropLink(l)
		if l, err = m.current(ctx); err == nil {
			err = m.run(ctx, l, c)
		}
		if errors.Is(err, errNotBegun) {
			err = m.broke(ctx, l, err)
		}
	}
	if releaseErr := release(err == nil || isExit(err)); releaseErr != nil {
		err = errors.Join(err, releaseErr)
	}
	if exit := (*platforms.ExitError)(nil); err == nil || errors.As(err, &exit) {
		return err
	}
	return fmt.Errorf("%s: %w", verb, err)
}

// errNotBegun says that the connection broke before the command began.
var errNotBegun = errors.New("the connection to the machine had broken")

func isExit(err error) bool {
	exit := (*platforms.ExitError)(nil)
	return errors.As(err, &exit)
}

// check says what is wrong with a command's data.
func check(c platforms.Cmd) error {
	for _, f := range c.Files {
		if name := path.Clean(f.Path); !strings.HasPrefix(name, "/run/") {
			return fmt.Errorf("file %s: files in memory lie below /run", f.Path)
		}
	}
	for _, cache := range c.Caches {
		if !path.IsAbs(cache.Dir) || path.Clean(cache.Dir) == "/" {
			return fmt.Errorf("cache %q: %q is not an absolute path below the root directory", cache.ID, cache.Dir)
		}
	}
	return nil
}

// largeFile is the size from which on a file goes by a channel of its own: a
// shell reads its input byte by byte.
const largeFile = 32 << 10

// run runs a command on a connection.
func (m *Machine) run(ctx context.Context, l *link, c platforms.Cmd) error {
	var files []platforms.File
	for _, f := range c.Files {
		if len(f.Data) >= largeFile {
			if err := m.place(ctx, l, f); err != nil {
				return err
			}
			f.Data = nil
		} else if f.Data == nil {
			f.Data = []byte{}
		}
		files = append(files, f)
	}
	b, err := m.prewarmedOf(l)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotBegun, err)
	}
	defer b.abandon()
	p := &process{token: rand.Text(), ready: make(chan struct{})}
	_, input := m.asRoot(bootstrap)
	head := input + p.script(c, files) + "\n"
	out := &syncWriter{w: cmp.Or[io.Writer](c.Stdout, io.Discard)}
	errs := &syncWriter{w: cmp.Or[io.Writer](c.Stderr, io.Discard)}
	if c.OneStream() {
		errs = out
	}
	go func() {
		_, _ = io.WriteString(b, head) // its answer tells
		if c.Stdin != nil {
			select {
			case <-p.ready:
				_, _ = io.Copy(b, c.Stdin) // a command need not read its input
			case <-b.ended:
			}
		}
		_ = b.CloseWrite()
	}()
	read := make(chan struct{})
	go func() {
		defer close(read)
		var both sync.WaitGroup
		both.Go(func() { _, _ = io.Copy(out, b) }) // out keeps its error
		both.Go(func() { _, _ = io.Copy(&preamble{p: p, w: errs}, b.Stderr()) })
		both.Wait()
	}()
	end := m.await(ctx, l, b, p)
	select {
	case <-read:
		m.tidyUp(l, p, files)
	case <-time.After(leftovers):
		// A process that outlived the command holds its output open.
		m.tidyUp(l, p, files)
		select {
		case <-read:
		case <-time.After(grace * time.Second):
			out.cut()
			errs.cut()
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case out.err() != nil:
		return fmt.Errorf("write the output: %w", out.err())
	case errs.err() != nil:
		return fmt.Errorf("write the output: %w", errs.err())
	}
	return m.outcome(ctx, l, c, p, end)
}

// await waits for the end of a command, and stops it when ctx ends.
func (m *Machine) await(ctx context.Context, l *link, b *prewarmed, p *process) ending {
	select {
	case <-b.ended:
		return b.end
	case <-ctx.Done():
	}
	// Its number comes with its first words.
	select {
	case <-p.ready:
	case <-b.ended:
		return b.end
	case <-time.After(grace * time.Second):
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*grace*time.Second)
	defer cancel()
	if group := p.group(); group != "" {
		_, _ = l.control.do(stop, endGroup(group)) // else the end of the session does it
	}
	b.abandon()
	select {
	case <-b.ended:
		return b.end
	case <-stop.Done():
		return ending{}
	}
}

// endGroup is what ends the processes of a group, at first kindly.
func endGroup(group string) string {
	return fmt.Sprintf(`kill -TERM -%[1]s && { i=0; while kill -0 -%[1]s && [ $i -lt %[2]d ]; do sleep 0.1; i=$((i+1)); done; kill -KILL -%[1]s; }; pkill -KILL -s %[1]s || true`,
		group, grace*10)
}

// tidyUp takes away what a command left, while the caller goes on: its files,
// and processes that outlived it. The next command waits for that.
func (m *Machine) tidyUp(l *link, p *process, files []platforms.File) {
	var line strings.Builder
	for _, f := range files {
		fmt.Fprintf(&line, "rm -f %s; ", quote(path.Clean(f.Path)))
		for dir := path.Dir(path.Clean(f.Path)); dir != "/run" && dir != "/run/bake"; dir = path.Dir(dir) {
			fmt.Fprintf(&line, "rmdir %s; ", quote(dir))
		}
	}
	if group := p.group(); group != "" {
		fmt.Fprintf(&line, "kill -KILL -%[1]s; pkill -KILL -s %[1]s; ", group)
	}
	if !l.alive() {
		return
	}
	done := make(chan struct{})
	m.mu.Lock()
	m.tidy = done
	m.mu.Unlock()
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_, _ = l.control.do(ctx, line.String()+"true") // a connection that breaks ends it all
		m.prepare(l)
	}()
}

// outcome turns the end of a session into that of the command.
func (m *Machine) outcome(ctx context.Context, l *link, c platforms.Cmd, p *process, end ending) error {
	switch kind, text := p.failure(); {
	case kind == "notfound":
		return &platforms.ExitError{Code: 127, Reason: text + ": not found"}
	case kind != "":
		return errors.New(text)
	case !end.known && !p.begun():
		return errNotBegun
	case c.ExpectDisconnect && (!end.known || end.signal != "" || end.code == 0):
		return m.afterDisconnect(ctx, l) // or the machine ended the command on its way down
	case !end.known:
		return m.broke(ctx, l, io.ErrUnexpectedEOF)
	case end.signal != "":
		return &platforms.ExitError{Code: -1, Signal: signalName(end.signal)}
	case end.code != 0:
		return &platforms.ExitError{Code: end.code, Reason: exitReason(end.code, c)}
	}
	return nil
}

// exitReason says what a shell's status tells of the command's name.
func exitReason(code int, c platforms.Cmd) string {
	if code == 126 {
		return c.Args[0] + ": cannot be executed"
	}
	return ""
}

// signalNames are those of RFC 4254, 6.10, as Linux describes them.
var signalNames = map[string]string{
	"ABRT": "aborted", "ALRM": "alarm clock", "FPE": "floating point exception", "HUP": "hangup", "ILL": "illegal instruction",
	"INT": "interrupt", "KILL": "killed", "PIPE": "broken pipe", "QUIT": "quit", "SEGV": "segmentation fault", "TERM": "terminated",
	"USR1": "user defined signal 1", "USR2": "user defined signal 2",
}

func signalName(name string) string {
	return cmp.Or(signalNames[name], strings.ToLower(name))
}

// A process is one command in the machine.
type process struct {
	token string
	ready chan struct{} // closed when the preamble has come

	mu         sync.Mutex
	groupID    string
	kind, text string // of a failure before the command began
	seen       bool
}

func (p *process) group() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.groupID
}

func (p *process) failure() (kind, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kind, p.text
}

// begun reports whether the machine has answered.
func (p *process) begun() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen || p.groupID != ""
}

// take reads a line of the preamble:
//
//	TOKEN group NUMBER
//	TOKEN fail KIND TEXT
//	TOKEN begin
func (p *process) take(line string) (more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "group":
		if _, err := strconv.Atoi(rest); err == nil && rest != "1" && rest != "0" {
			p.groupID = rest
		}
		return true
	case "fail":
		p.kind, p.text, _ = strings.Cut(rest, " ")
	}
	if !p.seen {
		p.seen = true
		close(p.ready)
	}
	return false
}

// A preamble takes what the bootstrap says off the standard error of a command.
type preamble struct {
	p    *process
	w    io.Writer
	buf  []byte
	done bool
}

func (r *preamble) Write(b []byte) (int, error) {
	if r.done {
		return r.w.Write(b)
	}
	r.buf = append(r.buf, b...)
	for !r.done {
		line, rest, whole := bytes.Cut(r.buf, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		if text, ours := strings.CutPrefix(string(line), r.p.token+" "); ours {
			r.done = !r.p.take(text)
		} else if _, err := r.w.Write(r.buf[:len(line)+1]); err != nil {
			return 0, err
		}
		r.buf = rest
	}
	if len(r.buf) > 0 {
		if _, err := r.w.Write(r.buf); err != nil {
			return 0, err
		}
	}
	r.buf = nil
	return len(b), nil
}

// A syncWriter serializes what two streams write, and remembers a failure: the
// command goes on, and its output is lost, which is told at its end.
type syncWriter struct {
	mu     sync.Mutex
	w      io.Writer
	failed error
}

func (s *syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		_, s.failed = s.w.Write(p)
	}
	return len(p), nil
}

// cut drops all that comes from now on.
func (s *syncWriter) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = io.Discard
}

func (s *syncWriter) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}
