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

	xssh "golang.org/x/crypto/ssh"

	"bake.build/bake/platforms"
)

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
	release, err := m.useCaches(ctx, l, c.Caches)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	err = m.run(ctx, l, c)
	if releaseErr := release(err == nil || isExit(err)); releaseErr != nil {
		err = errors.Join(err, releaseErr)
	}
	if exit := (*platforms.ExitError)(nil); err == nil || errors.As(err, &exit) {
		return err
	}
	return fmt.Errorf("%s: %w", verb, err)
}

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
		}
		files = append(files, f)
	}
	s, err := l.client.NewSession()
	if err != nil {
		return m.broke(ctx, l, err)
	}
	defer func() { _ = s.Close() }() // it has ended, as a rule
	p := &process{token: rand.Text(), ready: make(chan struct{})}
	line, input := m.asRoot(bootstrap)
	script := p.script(c, files)
	var head io.Reader = strings.NewReader(input + script + "\n")
	if c.Stdin != nil {
		head = io.MultiReader(head, c.Stdin)
	}
	stdin, err := s.StdinPipe()
	if err != nil {
		return err
	}
	out := &syncWriter{w: cmp.Or[io.Writer](c.Stdout, io.Discard)}
	errs := &syncWriter{w: cmp.Or[io.Writer](c.Stderr, io.Discard)}
	if c.Stdout != nil && c.Stdout == c.Stderr {
		errs = out
	}
	s.Stdout = out
	s.Stderr = &preamble{p: p, w: errs}
	if err := s.Start(line); err != nil {
		return m.broke(ctx, l, err)
	}
	go func() {
		_, _ = io.Copy(stdin, head) // a command need not read its input
		_ = stdin.Close()
	}()
	ended := make(chan error, 1)
	go func() { ended <- s.Wait() }()
	err = m.await(ctx, l, s, p, ended)
	m.tidyUp(l, p, files)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case out.err() != nil:
		return fmt.Errorf("write the output: %w", out.err())
	case errs.err() != nil:
		return fmt.Errorf("write the output: %w", errs.err())
	}
	return m.outcome(ctx, l, c, p, err)
}

// await waits for the end of a command, and stops it when ctx ends.
func (m *Machine) await(ctx context.Context, l *link, s *xssh.Session, p *process, ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// Its number comes with its first words.
	select {
	case <-p.ready:
	case err := <-ended:
		return err
	case <-time.After(grace * time.Second):
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*grace*time.Second)
	defer cancel()
	if group := p.group(); group != "" {
		_, _ = l.janitor.do(stop, endGroup(group)) // else the end of the session does it
	}
	_ = s.Close()
	select {
	case err := <-ended:
		return err
	case <-stop.Done():
		return context.Cause(ctx)
	}
}

// endGroup is what ends the processes of a group, at first kindly.
func endGroup(group string) string {
	return fmt.Sprintf(`kill -TERM -- -%[1]s && { i=0; while kill -0 -- -%[1]s && [ $i -lt %[2]d ]; do sleep 0.1; i=$((i+1)); done; kill -KILL -- -%[1]s; }; pkill -KILL -s %[1]s || true`,
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
		fmt.Fprintf(&line, "kill -KILL -- -%[1]s; pkill -KILL -s %[1]s; ", group)
	}
	if line.Len() == 0 || !l.alive() {
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
		_, _ = l.janitor.do(ctx, line.String()+"true") // a connection that breaks ends it all
	}()
}

// outcome turns the end of a session into that of the command.
func (m *Machine) outcome(ctx context.Context, l *link, c platforms.Cmd, p *process, err error) error {
	exit, missing := (*xssh.ExitError)(nil), (*xssh.ExitMissingError)(nil)
	switch kind, text := p.failure(); {
	case kind == "notfound":
		return &platforms.ExitError{Code: 127, Reason: text + ": not found"}
	case kind != "":
		return errors.New(text)
	case c.ExpectDisconnect && (err == nil || !errors.As(err, &exit)):
		return m.afterDisconnect(ctx, l)
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.Signal() != "":
		if c.ExpectDisconnect {
			return m.afterDisconnect(ctx, l) // the machine ended it on its way down
		}
		return &platforms.ExitError{Code: -1, Signal: signalName(exit.Signal())}
	case errors.As(err, &exit):
		return &platforms.ExitError{Code: exit.ExitStatus(), Reason: exitReason(exit.ExitStatus(), c)}
	case errors.As(err, &missing), errors.Is(err, io.EOF):
		return m.broke(ctx, l, err)
	}
	return m.broke(ctx, l, err)
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

func (s *syncWriter) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}
