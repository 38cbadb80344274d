package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// A Port is a way into a machine beside its SSH connection: what is written to
// Conn can be read from Device in the machine. It carries large streams without
// being encrypted by a guest that may be emulated.
type Port struct {
	Conn   net.Conn
	Device string // a character device that only root can open

	broken bool // what was written to it may not have been read
}

// recordSize is what tar reads from a port at a time. A stream ends with a whole
// record, after which tar reads no more.
const recordSize = 64 << 10

// portPID is where tar's process is found, while there is one.
const portPID = "/run/bake-port.pid"

// WriteBy is Write by a port. It reports false, and has done nothing, where that
// cannot be: without the device, or with another tar than GNU's.
func (m *Machine) WriteBy(ctx context.Context, p *Port, dst string, in io.Reader) (bool, error) {
	if p.broken {
		return false, nil
	}
	l, err := m.current(ctx)
	if err != nil {
		return true, fmt.Errorf("write to %s: %w", dst, err)
	}
	out, err := l.control.do(ctx, fmt.Sprintf(`[ -c %s ] && case "$(tar --version 2>/dev/null)" in *GNU*) echo yes;; esac || true`, quote(p.Device)))
	if err != nil {
		return true, fmt.Errorf("write to %s: %w", dst, err)
	}
	if strings.TrimSpace(out) != "yes" {
		return false, nil
	}
	if err := m.writePort(ctx, l, p, dst, in); err != nil {
		return true, fmt.Errorf("write to %s: %w", dst, err)
	}
	return true, nil
}

func (m *Machine) writePort(ctx context.Context, l *link, p *Port, dst string, in io.Reader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sent := make(chan error, 1)
	go func() {
		w := &records{w: p.Conn}
		err := newEntries(ctx, l, dst).copy(w, in)
		if err == nil {
			err = w.end()
		}
		switch {
		case err == nil:
		case w.err == nil:
			cancel(err) // of the source: tar would wait for the rest
		default:
			// Of the port, which says less than the connection if the machine has gone.
			time.AfterFunc(grace*time.Second, func() { cancel(err) })
		}
		sent <- err
	}()
	script := fmt.Sprintf(`%s; mkdir -p %[2]s && cd %[2]s || exit; tar -x -p -B -b %[4]d $o -f - <%[5]s & echo $! >%[3]s; wait $!; r=$?; rm -f %[3]s; exit $r`,
		tarOptions, quote(dst), portPID, recordSize/512, quote(p.Device))
	err := m.pipe(ctx, l, script, nil, io.Discard)
	if err == nil {
		return <-sent // tar has read it all
	}
	// What tar did not read stays in the port.
	p.broken = true
	tidy, end := context.WithTimeout(context.WithoutCancel(ctx), grace*time.Second)
	defer end()
	begins := 0 // seconds within which tar may still begin
	if ctx.Err() != nil {
		begins = grace / 2
	}
	_, tidyErr := l.control.do(tidy, fmt.Sprintf(
		`i=0; while [ ! -s %[1]s ] && [ $i -lt %[2]d ]; do sleep 0.1; i=$((i+1)); done; [ ! -s %[1]s ] || kill -KILL "$(cat %[1]s)"; rm -f %[1]s`, portPID, 10*begins))
	if deadlineErr := p.Conn.SetWriteDeadline(time.Unix(1, 0)); deadlineErr != nil {
		tidyErr = errors.Join(tidyErr, deadlineErr)
	}
	<-sent
	if l.alive() && tidyErr != nil {
		return errors.Join(err, fmt.Errorf("stop tar: %w", tidyErr))
	}
	return err
}

// records writes whole records.
type records struct {
	w   io.Writer
	buf []byte
	err error // of w
}

func (r *records) Write(p []byte) (int, error) {
	r.buf = append(r.buf, p...)
	if whole := len(r.buf) / recordSize * recordSize; whole > 0 {
		if _, r.err = r.w.Write(r.buf[:whole]); r.err != nil {
			return 0, r.err
		}
		r.buf = append(r.buf[:0], r.buf[whole:]...)
	}
	return len(p), nil
}

// end fills the last record.
func (r *records) end() error {
	if len(r.buf) > 0 {
		_, r.err = r.w.Write(append(r.buf, make([]byte, recordSize-len(r.buf))...))
		r.buf = nil
	}
	return r.err
}
