package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/ssh"
)

// A machine is one virtual machine with what it has written.
type machine struct {
	d        *driver
	dir      string
	remove   func() error
	hw       hardware
	sizes    []int64      // of the disks, in bytes
	overlays int          // that were made
	kept     []string     // references of the layers whose memory it has kept
	secret   bool         // its memory may hold a secret
	launched bool         // it is of a finished image, and cannot be committed
	plain    bool         // commands run as the user who logs in
	vm       *vm          // nil until it starts
	ssh      *ssh.Machine // nil when nobody logs in

	mu     sync.Mutex
	spare  *spare // may be nil
	at     string // the layer that it stands on; "" when something ran since
	closed bool
}

var (
	_ platforms.Machine    = (*machine)(nil)
	_ platforms.Rebooter   = (*machine)(nil)
	_ platforms.Sheller    = (*machine)(nil)
	_ platforms.PortWaiter = (*machine)(nil)
	_ platforms.Forwarder  = (*machine)(nil)
	_ platforms.Consoler   = (*machine)(nil)
)

// errClosed is what a closed machine answers.
var errClosed = errors.New("the machine is closed")

// boot starts QEMU and waits until somebody can log in.
func (m *machine) boot(ctx context.Context, out platforms.Logger) (err error) {
	if m.d.settings.resume && canKeepMemory && !m.hw.tpm && m.hw.install == nil && !m.launched {
		if m.hw.ram, err = newRAM(m.hw.memory); err != nil {
			return err
		}
	}
	if err := m.start(ctx); err != nil {
		return err
	}
	if err := m.vm.qmp.Run(ctx, "cont", nil, nil); err != nil {
		return err
	}
	m.vm.typeBoot()
	if err := m.login(ctx, out); err != nil {
		return err
	}
	if err := m.startSpare(); err != nil {
		return err
	}
	return m.startHelper(ctx)
}

func (m *machine) start(ctx context.Context) error {
	hw := m.hw
	m.hw.consoleLog = nil
	v, err := startVM(ctx, hw)
	if err != nil {
		return err
	}
	m.vm = v
	return nil
}

// resume starts QEMU with a memory that was kept.
func (m *machine) resume(ctx context.Context, kept *keptMemory) (err error) {
	if m.hw.ram, err = newRAM(m.hw.memory); err != nil {
		return err
	}
	if err := copySparse(ctx, m.hw.ram, kept.ram, copyWorkers); err != nil {
		return errors.Join(err, m.hw.ram.Close())
	}
	m.hw.incoming = true
	if err := m.start(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, resumeTimeout, errors.New("the machine does not go on"))
	defer cancel()
	if err := m.vm.migrate(ctx, "migrate-incoming", kept.state); err != nil {
		return err
	}
	if err := m.vm.qmp.Run(ctx, "cont", nil, nil); err != nil {
		return err
	}
	if kept.meta.Frozen {
		if err := m.vm.agent.Thaw(); err != nil {
			return err
		}
	}
	key, err := m.d.key()
	if err != nil {
		return err
	}
	if err := m.vm.adopt(ctx, key.Authorized()); err != nil {
		return err
	}
	if err := m.login(ctx, quiet{}); err != nil {
		return err
	}
	return m.startSpare()
}

// resumeTimeout is how long a machine may take to go on from a kept memory.
const resumeTimeout = time.Minute

// quiet is a logger of what nobody waits for.
type quiet struct{}

func (quiet) Write(p []byte) (int, error)   { return len(p), nil }
func (quiet) Progress(string, int64, int64) {}

// login waits for the machine's SSH server and logs in.
func (m *machine) login(ctx context.Context, out platforms.Logger) error {
	key, err := m.d.key()
	if err != nil {
		return err
	}
	address, err := m.vm.forwardedTo(ctx, sshPort)
	if err != nil {
		return err
	}
	caches, err := m.d.host.CacheDir("qemu-caches")
	if err != nil {
		return err
	}
	c, err := m.hw.login.Config(m.d.host, key, "")
	if err != nil {
		return err
	}
	c.Address = address
	c.Dial = func(ctx context.Context) (net.Conn, error) { return m.vm.Dial(ctx, address) }
	c.Door, c.OwnRoute = m.vm.dialDoor, true
	c.Plain, c.Caches, c.CloudInit = m.plain, caches, true
	c.Console, c.Alive, c.Restarts = m.vm.console.Tail, m.vm.Alive, m.vm.Restarts
	m.ssh, err = ssh.Connect(ctx, c, out)
	return err
}

// use returns an error unless the machine is open, and notes that it will differ
// from its layer when something changes it.
func (m *machine) use(changes bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	if changes {
		m.at = ""
	}
	if m.ssh == nil {
		return errors.New("nobody can log in to this machine")
	}
	return nil
}

// Run implements platforms.Machine.
func (m *machine) Run(ctx context.Context, c platforms.Cmd) error {
	if err := m.use(true); err != nil {
		return err
	}
	m.secret = m.secret || c.Secret
	if err := m.ssh.Run(ctx, c); err != nil || !c.ExpectDisconnect {
		return err
	}
	return m.startHelper(ctx)
}

// Write implements platforms.Machine.
func (m *machine) Write(ctx context.Context, dst string, tar io.Reader) error {
	if err := m.use(true); err != nil {
		return err
	}
	if done, err := m.ssh.WriteBy(ctx, m.vm.data, dst, tar); done {
		return err
	}
	return m.ssh.Write(ctx, dst, tar)
}

// Read implements platforms.Machine.
func (m *machine) Read(ctx context.Context, src string, tar io.Writer) error {
	if err := m.use(false); err != nil {
		return err
	}
	return m.ssh.Read(ctx, src, tar)
}

// Shell implements platforms.Sheller.
func (m *machine) Shell(ctx context.Context, c platforms.Cmd) error {
	if err := m.use(true); err != nil {
		return err
	}
	return m.ssh.Shell(ctx, c)
}

// Reboot implements platforms.Rebooter.
func (m *machine) Reboot(ctx context.Context) error {
	if err := m.use(true); err != nil {
		return err
	}
	if err := m.ssh.Reboot(ctx); err != nil {
		return err
	}
	return m.startHelper(ctx)
}

// Commit implements platforms.Machine.
func (m *machine) Commit(ctx context.Context, s platforms.State) (platforms.Made, error) {
	if err := m.use(true); err != nil {
		return platforms.Made{}, err
	}
	if m.launched {
		return platforms.Made{}, errors.New("a machine of a finished image cannot be committed")
	}
	if err := ctx.Err(); err != nil {
		return platforms.Made{}, context.Cause(ctx)
	}
	var next []*node
	for i, size := range m.sizes {
		n, err := m.newOverlay(ctx, i, nil)
		if err != nil {
			return platforms.Made{}, fmt.Errorf("%w (disk of %d bytes)", err, size)
		}
		next = append(next, n)
	}
	ref := newRef()
	memory, err := m.seal(ctx, next, ref)
	if err != nil {
		return platforms.Made{}, err
	}
	for i, n := range m.hw.overlays {
		if err := os.Rename(n.File.Path, filepath.Join(s.Dir, diskName(i))); err != nil {
			return platforms.Made{}, err
		}
	}
	m.hw.overlays = next
	if m.hw.firmware.uefi {
		if err := os.Rename(m.vm.path(varsName+".sealed"), filepath.Join(s.Dir, varsName)); err != nil {
			return platforms.Made{}, err
		}
	}
	if memory != "" {
		if err := m.keepMemory(memory, ref); err != nil {
			return platforms.Made{}, fmt.Errorf("keep the machine's memory: %w", err)
		}
		if err := m.startSpare(); err != nil {
			return platforms.Made{}, fmt.Errorf("keep the machine's memory: %w", err)
		}
	}
	m.mu.Lock()
	m.at = ref
	m.mu.Unlock()
	return platforms.Made{Ref: ref, Traits: m.d.settings.traits()}, nil
}

// seal puts the overlays next on top of the present ones, at a moment at which
// the guest has written all that it holds. memory is the directory with the
// machine's memory of that moment; it is "" when that is not to be kept.
func (m *machine) seal(ctx context.Context, next []*node, ref string) (memory string, err error) {
	frozen, thaw, err := m.vm.freeze(ctx)
	if err != nil {
		return "", err
	}
	if frozen {
		defer func() { err = errors.Join(err, thaw()) }()
	} else if err := m.ssh.Sync(ctx); err != nil {
		return "", err
	}
	keep, err := m.keepable(ctx)
	if err != nil {
		return "", err
	}
	if err := m.vm.qmp.Run(ctx, "stop", nil, nil); err != nil {
		return "", err
	}
	err = m.snapshot(ctx, next)
	if err == nil && m.hw.firmware.uefi {
		err = copyFile(m.vm.path(varsName+".sealed"), m.vm.path(varsName))
	}
	if err == nil && keep {
		memory = m.vm.path("memory-" + ref)
		err = m.vm.saveMemory(ctx, memory, m.takeSpare(), frozen)
	}
	return memory, errors.Join(err, m.vm.qmp.Run(ctx, "cont", nil, nil))
}

// keepable reports whether the machine's memory may be kept and can be used
// again: it holds no secret, and the guest has the shell that a resumed machine
// is told its news by.
func (m *machine) keepable(ctx context.Context) (bool, error) {
	if m.secret || m.hw.ram == nil {
		return false, nil
	}
	return m.vm.portOpen(ctx, "helper")
}

// snapshot makes all disks write to the overlays next from now on.
func (m *machine) snapshot(ctx context.Context, next []*node) error {
	var actions []map[string]any
	for i, n := range next {
		if err := m.vm.qmp.Run(ctx, "blockdev-add", n, nil); err != nil {
			return err
		}
		actions = append(actions, map[string]any{"type": "blockdev-snapshot", "data": map[string]any{
			"node": m.hw.overlays[i].Name, "overlay": n.Name,
		}})
	}
	return m.vm.qmp.Run(ctx, "transaction", map[string]any{"actions": actions}, nil)
}

func copyFile(dst, src string) error {
	data, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, data, 0o600)
}

// WaitConsole implements platforms.Consoler.
func (m *machine) WaitConsole(ctx context.Context, match *regexp.Regexp) error {
	return m.vm.console.Wait(ctx, match)
}

// ConsoleTail implements platforms.Consoler.
func (m *machine) ConsoleTail() []string { return m.vm.console.Tail() }

// AttachConsole implements platforms.Consoler.
func (m *machine) AttachConsole(ctx context.Context, in io.Reader, out io.Writer) error {
	return m.vm.console.Attach(ctx, in, out)
}

// Close implements platforms.Machine. A machine that stands on a layer is kept
// for a while, for who asks for one there.
func (m *machine) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	at := m.at
	m.mu.Unlock()
	if at != "" && !m.launched && m.vm.Alive() == nil {
		return m.d.parked.Put(at, m.successor())
	}
	return m.end()
}

// successor returns the machine anew, as one that is open.
func (m *machine) successor() *machine {
	return &machine{
		d: m.d, dir: m.dir, remove: m.remove, hw: m.hw, sizes: m.sizes, overlays: m.overlays,
		kept: m.kept, spare: m.spare, secret: m.secret, vm: m.vm, ssh: m.ssh, at: m.at,
	}
}

// Alive implements hypervisor.Parked.
func (m *machine) Alive() error { return m.vm.Alive() }

// End implements hypervisor.Parked.
func (m *machine) End() error { return m.end() }

// end stops the machine at once and removes what was not committed.
func (m *machine) end() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.takeSpare()
	var errs []error
	if m.ssh != nil {
		errs = append(errs, m.ssh.Close())
	}
	if m.vm != nil {
		errs = append(errs, m.vm.close())
	}
	return errors.Join(append(errs, m.remove())...)
}
