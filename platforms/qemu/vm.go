package qemu

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"bake.build/bake/internal/tool"
	"bake.build/bake/platforms/console"
	"bake.build/bake/platforms/qemu/qmp"
	"bake.build/bake/platforms/ssh"
)

// A vm is one running QEMU.
type vm struct {
	hw      hardware
	qmp     *qmp.Client
	console *console.Console
	helper  *net.UnixConn // see helper.go
	data    *ssh.Port     // for files; see dataPort
	agent   *net.UnixConn // of the guest agent
	door    string        // address of this host; see door.go
	ended   chan struct{} // closed when the process has ended
	tpm     *tpm          // may be nil

	forwarding sync.Mutex // one new port at a time, which is told by the others

	mu         sync.Mutex
	closed     bool
	failure    error // why the machine is of no more use
	conns      map[net.Conn]bool
	stopTyping context.CancelFunc // of boot_command; may be nil
	resetN     int                // how often the guest has started anew
	process    *exec.Cmd
}

// startTimeout is how long QEMU may take to speak.
const startTimeout = 60 * time.Second

// startVM starts QEMU with the virtual CPUs stopped. It takes over hw.ram and
// hw.consoleLog, also when it fails.
func startVM(ctx context.Context, hw hardware) (_ *vm, err error) {
	v := &vm{hw: hw, ended: make(chan struct{}), conns: map[net.Conn]bool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.close())
		}
	}()
	a := &arguments{}
	defer func() { err = errors.Join(err, a.close()) }()
	monitor, err := a.link("qmp")
	if err != nil {
		return nil, err
	}
	serial, err := a.link("console")
	if err != nil {
		return nil, errors.Join(err, monitor.Close())
	}
	v.console = console.New(serial, hw.consoleLog, v.fail)
	v.hw.consoleLog = nil
	if v.helper, err = a.link("helper"); err == nil {
		v.agent, err = a.link("agent")
	}
	if err == nil {
		v.data = &ssh.Port{Device: "/dev/virtio-ports/" + dataPort}
		v.data.Conn, err = a.link("data")
	}
	if err == nil {
		v.door, err = a.listen(doorLink)
	}
	if err == nil && hw.tpm {
		v.tpm, err = startTPM(hw.dir, a)
	}
	if err != nil {
		return nil, errors.Join(err, monitor.Close())
	}
	args, err := hw.arguments(a)
	if err != nil {
		return nil, errors.Join(err, monitor.Close())
	}
	cmd := exec.Command(hw.binary, args...)
	cmd.ExtraFiles = a.files
	said := &said{}
	cmd.Stderr = said
	ended, err := tool.Start(cmd)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start QEMU: %w", err), monitor.Close())
	}
	v.process = cmd
	go v.await(cmd, ended, said)
	if err := a.close(); err != nil {
		return nil, errors.Join(err, monitor.Close())
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("QEMU does not answer"))
	defer cancel()
	if v.qmp, err = qmp.New(ctx, monitor, v.event); err != nil {
		// The socket ends a little before the process does.
		select {
		case <-v.ended:
			return nil, v.alive()
		case <-time.After(time.Second):
			return nil, errors.Join(fmt.Errorf("start QEMU: %w", err), monitor.Close())
		}
	}
	return v, nil
}

// kill ends the process; one that has ended is no error.
func kill(cmd *exec.Cmd) error {
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end QEMU: %w", err)
	}
	return nil
}

// errShutDown is what becomes of a machine whose guest has ended it in order.
var errShutDown = errors.New("the machine was shut down")

// await notes how QEMU ends, and ends it when the machine is closed.
func (v *vm) await(cmd *exec.Cmd, ended <-chan error, said *said) {
	err := <-ended
	switch signal := signalOf(cmd.ProcessState); {
	case signal != "":
		v.fail(fmt.Errorf("QEMU was ended by a signal: %s", signal))
	case err != nil:
		v.fail(fmt.Errorf("QEMU: %s", said.why(err)))
	default:
		v.fail(errShutDown)
	}
	close(v.ended)
}

func signalOf(state *os.ProcessState) string {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal().String()
	}
	return ""
}

// A said keeps the last of what a program writes.
type said struct {
	mu sync.Mutex
	b  []byte
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = append(s.b, p...)
	s.b = s.b[max(0, len(s.b)-8<<10):]
	return len(p), nil
}

// why returns the last line in which a program of QEMU speaks of itself, else the
// last line, or err when there is none.
func (s *said) why(err error) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := string(bytes.ToValidUTF8(s.b, nil))
	why := cmp.Or(lastLine(text), err.Error())
	for line := range strings.Lines(text) {
		if program, said, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(program, "qemu-") {
			why = strings.TrimSpace(said)
		}
	}
	return why
}

// fail notes why the machine is of no more use, and ends the connections to it.
func (v *vm) fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failure == nil {
		v.failure = err
	}
	v.dropConns()
}

func (v *vm) dropConns() {
	for c := range v.conns {
		_ = c.Close() // who uses it finds out
	}
	clear(v.conns)
}

// alive returns why the machine is of no more use, or nil.
func (v *vm) alive() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.failure
}

// resets counts how often the guest has started anew.
func (v *vm) resets() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.resetN
}

// event takes QEMU's events.
func (v *vm) event(e qmp.Event) {
	switch e.Name {
	case "RESET":
		// The guest's own connections end with its reset, and nobody tells.
		v.mu.Lock()
		v.resetN++
		v.dropConns()
		v.mu.Unlock()
		v.typeBoot()
	case "GUEST_PANICKED":
		v.fail(errors.New("the guest panicked"))
	case "BLOCK_IO_ERROR":
		var data struct {
			Action  string `json:"action"`
			NoSpace bool   `json:"nospace"`
			Reason  string `json:"reason"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			data.Reason = err.Error()
		}
		if data.NoSpace {
			v.fail(fmt.Errorf("the host's disk is full: no space is left below %s for what the machine writes", v.hw.dir))
		} else if data.Action == "stop" {
			v.fail(fmt.Errorf("a disk of the machine failed: %s", data.Reason))
		}
	}
}

// dial connects to a TCP port of the host that leads into the machine. The
// connection ends with the machine.
func (v *vm) dial(ctx context.Context, address string) (net.Conn, error) {
	if err := v.alive(); err != nil {
		return nil, err
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failure != nil {
		return nil, errors.Join(v.failure, c.Close())
	}
	v.conns[c] = true
	return &ownedConn{Conn: c, vm: v}, nil
}

// An ownedConn is forgotten by the machine when it is closed.
type ownedConn struct {
	net.Conn
	vm *vm
}

func (c *ownedConn) Close() error {
	c.vm.mu.Lock()
	delete(c.vm.conns, c.Conn)
	c.vm.mu.Unlock()
	return c.Conn.Close()
}

// awaitEnd waits until the machine has shut itself down.
func (v *vm) awaitEnd(ctx context.Context) error {
	select {
	case <-v.ended:
		if err := v.alive(); !errors.Is(err, errShutDown) {
			return err
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close ends QEMU at once and releases what it held.
func (v *vm) close() error {
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		<-v.ended
		return nil
	}
	v.closed = true
	v.mu.Unlock()
	var errs []error
	if v.process != nil && v.process.Process != nil {
		errs = append(errs, v.quit())
	}
	if v.console != nil {
		errs = append(errs, v.console.Close())
	}
	for _, c := range []*net.UnixConn{v.helper, v.agent} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	if v.data != nil && v.data.Conn != nil {
		errs = append(errs, v.data.Conn.Close())
	}
	for _, f := range []*os.File{v.hw.ram, v.hw.consoleLog} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if v.tpm != nil {
		errs = append(errs, v.tpm.close())
	}
	return errors.Join(errs...)
}

// quit ends the process, if it still runs.
func (v *vm) quit() error {
	if v.qmp != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_ = v.qmp.Run(ctx, "quit", nil, nil) // one that does not is killed
		cancel()
		defer func() { _ = v.qmp.Close() }() // closed by QEMU, as a rule
		select {
		case <-v.ended:
			return nil
		case <-time.After(5 * time.Second):
		}
	}
	err := kill(v.process)
	<-v.ended
	return err
}

func (v *vm) path(name string) string { return filepath.Join(v.hw.dir, name) }

// A forwarded is a line of QEMU's table of user-mode connections.
type forwarded struct {
	state            string
	fromAddr, toAddr string
	fromPort, toPort string
}

// usernet reads QEMU's table of user-mode connections.
func (v *vm) usernet(ctx context.Context) ([]forwarded, error) {
	text, err := v.qmp.Human(ctx, "info usernet")
	if err != nil {
		return nil, err
	}
	return parseUsernet(text), nil
}

// parseUsernet reads lines such as
//
//	TCP[HOST_FORWARD]  13       127.0.0.1 40771      10.0.2.15    22     0     0
func parseUsernet(text string) []forwarded {
	var list []forwarded
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 6 || !strings.HasPrefix(f[0], "TCP[") {
			continue
		}
		list = append(list, forwarded{state: strings.TrimSuffix(f[0][4:], "]"), fromAddr: f[2], fromPort: f[3], toAddr: f[4], toPort: f[5]})
	}
	return list
}

// forwardedTo returns the host's address that leads to a port of the guest.
func (v *vm) forwardedTo(ctx context.Context, port string) (string, error) {
	list, err := v.usernet(ctx)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(list, func(f forwarded) bool { return f.state == "HOST_FORWARD" && f.toPort == port })
	if i < 0 {
		return "", fmt.Errorf("QEMU forwards no port to the guest's port %s", port)
	}
	return net.JoinHostPort(list[i].fromAddr, list[i].fromPort), nil
}
