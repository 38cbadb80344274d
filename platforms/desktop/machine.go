package desktop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/console"
	"bake.build/bake/platforms/hypervisor"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/ssh"
)

// A machine is one virtual machine with what it has written.
type machine struct {
	hypervisor.State

	d        *Driver
	dir      string
	remove   func() error
	record   *resource.Record
	hardware hardware.Options
	chains   [][]string // of each disk, below what the machine writes
	launched bool       // it is of a finished image, and cannot be committed
	plain    bool       // commands run as the user who logs in
	vm       VM         // nil until it is made
	console  *console.Console
	ssh      *ssh.Machine // nil when nobody logs in
	forwards *hypervisor.Forwards

	reaching sync.Mutex
	stop     context.CancelFunc // of what goes on beside
	beside   sync.WaitGroup

	at string // the layer that it stands on; "" when something ran since
}

// newMachine makes the directory of a machine, and the record of it.
func (d *Driver) newMachine(ctx context.Context, h hardware.Options) (*machine, error) {
	dir, remove, err := d.host.TempDir(d.name)
	if err != nil {
		return nil, err
	}
	m := &machine{d: d, dir: dir, remove: remove, hardware: h, stop: func() {}}
	if m.record, err = d.Begin(ctx, kindMachine, "", dir); err != nil {
		return nil, errors.Join(err, remove())
	}
	return m, nil
}

// spec describes the machine for the hypervisor.
func (m *machine) spec() Spec {
	return Spec{
		Dir: m.dir, Name: filepath.Base(m.dir), Hardware: m.hardware, Boot: []string{"disk"},
		Console: filepath.Join(m.dir, consoleName), GUI: m.d.settings.gui,
	}
}

// consoleName is the file in a machine's directory that its serial port is written to.
const consoleName = "console.log"

// start makes the machine and starts it.
func (m *machine) start(ctx context.Context, s Spec, log string) (err error) {
	if m.vm, err = m.d.hv.Create(ctx, s); err != nil {
		return err
	}
	if m.console, err = followConsole(s.Console, log, m.Fail); err != nil {
		return err
	}
	if err := m.vm.Start(ctx); err != nil {
		return fmt.Errorf("start the machine: %w", err)
	}
	beside, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	m.beside.Go(func() { m.watch(beside) })
	return nil
}

// Pauses between two looks whether a machine runs.
const (
	watchPause = 5 * time.Second
	endPause   = 500 * time.Millisecond
)

// watch notes when the machine ends.
func (m *machine) watch(ctx context.Context) {
	tick := time.NewTicker(watchPause)
	defer tick.Stop()
	for failed := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		runs, err := m.vm.Running(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && !runs:
			m.Fail(errShutDown)
			return
		case err == nil:
			failed = 0
			continue
		}
		if failed++; failed == 3 {
			m.Fail(fmt.Errorf("the hypervisor does not tell whether the machine runs: %w", err))
			return
		}
	}
}

// errShutDown is what becomes of a machine that has ended by itself.
var errShutDown = errors.New("the machine was shut down")

// reach returns an address that leads to the machine's port.
func (m *machine) reach(ctx context.Context, port int) (string, error) {
	m.reaching.Lock()
	defer m.reaching.Unlock()
	return m.vm.Reach(ctx, port)
}

// login waits for the machine's SSH server and logs in.
func (m *machine) login(ctx context.Context, out platforms.Logger) error {
	key, err := m.d.key()
	if err != nil {
		return err
	}
	caches, err := m.d.host.CacheDir(m.d.name + "-caches")
	if err != nil {
		return err
	}
	c, err := m.d.settings.login.Config(m.d.host, key, "")
	if err != nil {
		return err
	}
	c.Address, c.OwnRoute = "machine:22", true
	c.Dial = m.dialSSH
	c.Plain, c.Caches, c.CloudInit = m.plain, caches, true
	c.Console, c.Alive, c.Restarts = m.console.Tail, m.Alive, m.Restarts
	m.ssh, err = ssh.Connect(ctx, c, out)
	return err
}

// commit makes a layer of the machine's state.
func (m *machine) commit(ctx context.Context, s platforms.State) (platforms.Made, error) {
	if m.launched {
		return platforms.Made{}, errors.New("a machine of a finished image cannot be committed")
	}
	if err := ctx.Err(); err != nil {
		return platforms.Made{}, context.Cause(ctx)
	}
	if err := m.ssh.Sync(ctx); err != nil {
		return platforms.Made{}, err
	}
	sealed, err := m.freeze(ctx)
	if err != nil {
		return platforms.Made{}, err
	}
	for i, path := range sealed {
		if err := link(ctx, filepath.Join(s.Dir, m.d.mediumName(i)), path); err != nil {
			return platforms.Made{}, err
		}
	}
	if err := m.keepVariables(ctx, s.Dir); err != nil {
		return platforms.Made{}, err
	}
	return platforms.Made{Ref: newRef(), Traits: traits(m.hardware)}, nil
}

// freeze has the machine go on with new media, and returns those up to now.
func (m *machine) freeze(ctx context.Context) ([]string, error) {
	sealed, err := m.vm.Freeze(ctx)
	if err != nil {
		return nil, fmt.Errorf("take a snapshot: %w", err)
	}
	if len(sealed) != len(m.chains) {
		return nil, fmt.Errorf("take a snapshot: %d media of %d disks were sealed", len(sealed), len(m.chains))
	}
	for i, path := range sealed {
		m.chains[i] = append(m.chains[i], path)
	}
	return sealed, nil
}

// keepVariables puts a copy of the machine's UEFI variables into a layer.
func (m *machine) keepVariables(ctx context.Context, dir string) error {
	v, ok := m.vm.(Variables)
	if !ok || !m.hardware.UEFI() || v.NVRAM() == "" {
		return nil
	}
	err := copyFile(ctx, filepath.Join(dir, nvramName), v.NVRAM())
	if errors.Is(err, os.ErrNotExist) {
		return nil // hypervisors write them when a machine ends, and this has set none before
	}
	return err
}

// WaitConsole implements platforms.Consoler.
func (m *machine) WaitConsole(ctx context.Context, match *regexp.Regexp) error {
	return m.console.Wait(ctx, match)
}

// ConsoleTail implements platforms.Consoler.
func (m *machine) ConsoleTail() []string { return m.console.Tail() }

// AttachConsole implements platforms.Consoler. What is typed goes nowhere: the serial
// port is written to a file.
func (m *machine) AttachConsole(ctx context.Context, in io.Reader, out io.Writer) error {
	return m.console.Attach(ctx, in, out)
}

// End implements hypervisor.Parked: it stops the machine at once and removes what was not
// committed.
func (m *machine) End() error {
	m.Fail(errClosed)
	m.stop()
	m.beside.Wait()
	var errs []error
	if m.forwards != nil {
		errs = append(errs, m.forwards.Close())
	}
	if m.ssh != nil {
		errs = append(errs, m.ssh.Close())
	}
	if m.console != nil {
		errs = append(errs, m.console.Close())
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), removeTimeout, errors.New("the hypervisor does not end the machine"))
	defer cancel()
	return errors.Join(append(errs, m.record.Remove(ctx, func(ctx context.Context) error {
		if _, err := m.d.hv.Remove(ctx, m.dir); err != nil {
			return fmt.Errorf("end the machine: %w", err)
		}
		return m.remove()
	}))...)
}
