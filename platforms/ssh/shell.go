package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	xssh "golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"bake.build/bake/platforms"
)

// Shell runs a command on the terminal of this process. Streams that c leaves
// nil are those of this process; without a terminal it is Run. See
// platforms.Sheller.
func (m *Machine) Shell(ctx context.Context, c platforms.Cmd) error {
	c.Stdin = cmp.Or[io.Reader](c.Stdin, os.Stdin)
	c.Stdout = cmp.Or[io.Writer](c.Stdout, os.Stdout)
	c.Stderr = cmp.Or[io.Writer](c.Stderr, os.Stderr)
	in, ok := c.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return m.Run(ctx, c)
	}
	if len(c.Args) == 0 {
		return errors.New("shell: no command")
	}
	l, err := m.current(ctx)
	if err != nil {
		return fmt.Errorf("shell: %w", err)
	}
	err = m.terminal(ctx, l, c, in)
	exit := (*xssh.ExitError)(nil)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &exit) && exit.Signal() != "":
		return &platforms.ExitError{Code: -1, Signal: signalName(exit.Signal())}
	case errors.As(err, &exit):
		return &platforms.ExitError{Code: exit.ExitStatus()}
	case err != nil:
		return fmt.Errorf("shell: %w", err)
	}
	return nil
}

// terminal runs the command with a terminal of its own in the machine.
func (m *Machine) terminal(ctx context.Context, l *link, c platforms.Cmd, in *os.File) (err error) {
	s, err := l.session()
	if err != nil {
		return m.broke(ctx, l, err)
	}
	defer func() { _ = s.Close() }() // it has ended, as a rule
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	width, height, err := term.GetSize(int(in.Fd()))
	if err != nil {
		width, height = 80, 24
	}
	if err := s.RequestPty(cmp.Or(os.Getenv("TERM"), "xterm"), height, width, xssh.TerminalModes{}); err != nil {
		return fmt.Errorf("ask for a terminal: %w", err)
	}
	s.Stdin, s.Stdout, s.Stderr = in, c.Stdout, c.Stderr
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("set the terminal to raw mode: %w", err)
	}
	defer func() { err = errors.Join(err, term.Restore(int(in.Fd()), state)) }()
	defer watchSize(in, s.WindowChange)()
	// The command is no secret here: a shell that somebody types into.
	if err := s.Start(m.interactive(c)); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-l.gone:
		return m.broke(ctx, l, io.EOF)
	}
}

// interactive is the command line of a command that has a terminal, by which
// sudo asks for a password itself.
func (m *Machine) interactive(c platforms.Cmd) string {
	var b strings.Builder
	b.WriteString(systemPath + "; ")
	for _, env := range c.Env {
		fmt.Fprintf(&b, "export %s; ", quote(env))
	}
	fmt.Fprintf(&b, "cd %s; exec", quote(cmp.Or(c.Dir, "/")))
	for _, a := range c.Args {
		b.WriteString(" " + quote(a))
	}
	line := "exec "
	if m.sudo != "" {
		line += "sudo "
	}
	return line + "sh -c " + quote(`_n="$(printf "\nx")"; _n="${_n%x}"; `+b.String())
}
