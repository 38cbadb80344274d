package qemu

import (
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
	"time"

	"bake.build/bake/internal/tool"
	"bake.build/bake/platforms/console"
	"bake.build/bake/platforms/hypervisor"
	"bake.build/bake/platforms/qemu/qmp"
	"bake.build/bake/platforms/ssh"
)

// A vm is one running QEMU.
type vm struct {
	hypervisor.State

	hw      hardware
	qmp     *qmp.Client
	console *console.Console
	helper  *net.UnixConn // see helper.go
	data    *ssh.Port     // for files; see dataPort
	agent   hypervisor.Agent
	door    string        // address of this host; see door.go
	ended   chan struct{} // closed when the process has ended
	tpm     *tpm          // may be nil

	forwarding sync.Mutex // one new port at a time, which is told by the others

	mu         sync.Mutex
	closed     bool
	stopTyping context.CancelFunc // of boot_command; may be nil
	process    *exec.Cmd
}

// startTimeout is how long QEMU may take to speak.
const startTimeout = 60 * time.Second

// startVM starts QEMU with the virtual CPUs stopped. It takes over hw.ram and
// hw.consoleLog, also when it fails.
func startVM(ctx context.Context, hw hardware) (_ *vm, err error) {
	v := &vm{hw: hw, ended: make(chan struct{})}
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
	v.console = console.New(serial, hw.consoleLog, v.Fail)
	v.hw.consoleLog = nil
	var agent, data *net.UnixConn
	if v.helper, err = a.link("helper"); err == nil {
		if agent, err = a.link("agent"); err == nil {
			v.agent.Conn = agent
			data, err = a.link("data")
		}
	}
	if err == nil {
		v.data = &ssh.Port{Device: "/dev/virtio-ports/" + dataPort, Conn: data}
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
	said := newOutput()
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
			return nil, v.Alive()
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

// newOutput returns what keeps the messages of a program of QEMU's.
func newOutput() *hypervisor.Output { return &hypervisor.Output{Program: "qemu-"} }

// await notes how QEMU ends.
func (v *vm) await(cmd *exec.Cmd, ended <-chan error, said *hypervisor.Output) {
	err := <-ended
	if err = said.Ended("QEMU", cmd.ProcessState, err); err == nil {
		err = errShutDown
	}
	v.Fail(err)
	close(v.ended)
}

// event takes QEMU's events.
func (v *vm) event(e qmp.Event) {
	switch e.Name {
	case "RESET":
		v.Restarted()
		v.typeBoot()
	case "GUEST_PANICKED":
		v.Fail(errors.New("the guest panicked"))
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
			v.Fail(fmt.Errorf("the host's disk is full: no space is left below %s for what the machine writes", v.hw.dir))
		} else if data.Action == "stop" {
			v.Fail(fmt.Errorf("a disk of the machine failed: %s", data.Reason))
		}
	}
}

// awaitEnd waits until the machine has shut itself down.
func (v *vm) awaitEnd(ctx context.Context) error {
	select {
	case <-v.ended:
		if err := v.Alive(); !errors.Is(err, errShutDown) {
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
	if v.helper != nil {
		errs = append(errs, v.helper.Close())
	}
	if v.agent.Conn != nil {
		errs = append(errs, v.agent.Close())
	}
	if v.data != nil {
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
