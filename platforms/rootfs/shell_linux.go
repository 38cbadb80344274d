package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"bake.build/bake/platforms"
)

// Shell implements platforms.Sheller. Streams that c leaves nil are those of
// this process. With a terminal on standard input the command gets one of its
// own; else it runs with pipes.
func (m *machine) Shell(ctx context.Context, c platforms.Cmd) error {
	if c.Stdin == nil {
		c.Stdin = os.Stdin
	}
	if c.Stdout == nil {
		c.Stdout = os.Stdout
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	in, ok := c.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return m.run(ctx, c, nil)
	}
	t := &terminal{in: in, out: c.Stdout}
	defer t.restore()
	if name := os.Getenv("TERM"); name != "" {
		c.Env = append([]string{"TERM=" + name}, c.Env...)
	}
	c.Stdin, c.Stdout, c.Stderr = nil, nil, nil
	return m.run(ctx, c, t)
}

// A terminal joins the calling terminal with that of a command.
type terminal struct {
	in  *os.File
	out io.Writer

	state  *term.State
	master *os.File
	resize chan os.Signal
	done   sync.WaitGroup
}

// serve takes the command's terminal from its init. If the init has ended
// without one, its result says why.
func (t *terminal) serve(results *net.UnixConn) error {
	master, err := receive(results)
	if err != nil || master == nil {
		return err
	}
	t.master = master
	if t.state, err = term.MakeRaw(int(t.in.Fd())); err != nil {
		return fmt.Errorf("set terminal to raw mode: %w", err)
	}
	t.resize = make(chan os.Signal, 1)
	signal.Notify(t.resize, unix.SIGWINCH)
	t.fit()
	t.done.Add(2)
	go func() {
		defer t.done.Done()
		for range t.resize {
			t.fit()
		}
	}()
	go func() {
		// Ends with the command's terminal, at the next key at the latest.
		_, _ = io.Copy(master, t.in)
	}()
	go func() {
		defer t.done.Done()
		// A terminal whose last user is gone gives an error, not an end.
		_, _ = io.Copy(t.out, master)
	}()
	return nil
}

// fit gives the command's terminal the size of the calling one.
func (t *terminal) fit() {
	if size, err := unix.IoctlGetWinsize(int(t.in.Fd()), unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

func (t *terminal) restore() {
	if t.master == nil {
		return
	}
	if t.resize != nil {
		signal.Stop(t.resize)
		close(t.resize)
	}
	t.done.Wait()
	t.master.Close()
	if t.state != nil {
		_ = term.Restore(int(t.in.Fd()), t.state)
	}
}

// receive reads the one byte that carries a descriptor; nil if the result
// comes instead, of which nothing is read.
func receive(conn *net.UnixConn) (*os.File, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	first := make([]byte, 1)
	var n int
	var peekErr error
	err = raw.Read(func(fd uintptr) bool {
		n, _, peekErr = unix.Recvfrom(int(fd), first, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return peekErr != unix.EAGAIN
	})
	if err = errors.Join(err, peekErr); err != nil || n == 0 || first[0] != 0 {
		return nil, err
	}
	rights := make([]byte, unix.CmsgSpace(4))
	_, rn, _, _, err := conn.ReadMsgUnix(first, rights)
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receive terminal: no descriptor came (%w)", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("receive terminal: no descriptor came (%w)", err)
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}
