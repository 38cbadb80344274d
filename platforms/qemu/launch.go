package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/hypervisor"
	"bake.build/bake/platforms/image"
	"bake.build/bake/platforms/seed"
	"bake.build/bake/platforms/wait"
)

// Launch implements platforms.Launcher. The machine writes to an overlay.
func (d *driver) Launch(ctx context.Context, i platforms.Image, out platforms.Logger) (_ platforms.Machine, err error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	format, ok := platforms.DiskFormatNamed(i.Format)
	if !ok {
		return nil, fmt.Errorf("launch: QEMU does not start from the format %q", i.Format)
	}
	var described *image.Machine
	if format.Machine {
		scratch, remove, tempErr := d.host.TempDir("launch")
		if tempErr != nil {
			return nil, tempErr
		}
		defer func() { err = errors.Join(err, remove()) }()
		if described, err = openMachine(ctx, i, scratch, out); err != nil {
			return nil, fmt.Errorf("launch %s: %w", filepath.Base(i.Path), err)
		}
		defer func() { err = errors.Join(err, described.Close()) }()
	}
	m, err := bootAgain(out, func() (*machine, error) {
		m, err := d.launch(ctx, i, format.QEMU, described, out)
		if err != nil && strings.Contains(err.Error(), lostTimer) {
			err = errors.Join(err, removeGiven(i.Changes), removeGiven(i.ConsoleLog))
		}
		return m, err
	})
	if err != nil {
		return nil, err // not a machine that is nil
	}
	return m, nil
}

// removeGiven removes a file whose path may be "".
func removeGiven(path string) error {
	if path == "" {
		return nil
	}
	return os.Remove(path)
}

// launch is Launch of an image whose disk has the format.
func (d *driver) launch(ctx context.Context, i platforms.Image, format string, described *image.Machine, out platforms.Logger) (*machine, error) {
	m, err := d.launcher(ctx, i, described, out)
	if err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	if err = m.prepareLaunch(ctx, i, format, described, out); err == nil {
		err = m.runLaunched(ctx, i, out)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("launch %s: %w", filepath.Base(i.Path), err), m.end())
	}
	return m, nil
}

// launcher returns a machine of the image's kind. described, unless it is nil, is what
// the image says of it.
func (d *driver) launcher(ctx context.Context, i platforms.Image, described *image.Machine, out platforms.Logger) (*machine, error) {
	s := d.settings
	if i.Arch != "" && i.Arch != s.arch {
		return nil, fmt.Errorf("the image is for %s, and the platform's machines are %s", i.Arch, s.arch)
	}
	if (i.UEFI || i.Variables != "") && !s.firmware.uefi {
		s.firmware.uefi = true
		s.machine = defaultMachine(s.arch, s.firmware, s.diskBus)
	}
	if described != nil {
		if err := s.takeHardware(described.Hardware, out); err != nil {
			return nil, err
		}
	}
	s.resume, s.disks = false, nil
	if i.User != "" {
		s.login.User = i.User
	}
	m, err := d.newMachine(ctx, s, out)
	if err != nil {
		return nil, err
	}
	m.launched, m.plain = true, i.User != ""
	return m, nil
}

// prepareLaunch makes the overlay and all else that the machine starts with.
func (m *machine) prepareLaunch(ctx context.Context, i platforms.Image, format string, described *image.Machine, out platforms.Logger) (err error) {
	if described != nil {
		if i.Path, err = described.Disk(ctx, 0, m.dir, extracting(out)); err != nil {
			return err
		}
	}
	below, err := image.Open(i.Path, format)
	if err != nil {
		return err
	}
	path := filepath.Join(m.dir, "disk.qcow2")
	args := []string{"create", "-q", "-f", "qcow2"}
	if i.Changes != "" {
		path = i.Changes
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			return errors.Join(err, fmt.Errorf("%s exists", path))
		}
		// The image stays behind, so it names what it is an overlay of; -u leaves that
		// closed.
		args = append(args, "-u", "-F", format, "-b", i.Path)
	}
	if err := qemuImg(ctx, nil, append(args, "--", path, strconv.FormatInt(below.Size, 10))...); err != nil {
		return err
	}
	m.hw.overlays = []*node{overlay("disk0-0", path, below)}
	if i.Changes != "" {
		m.hw.overlays[0].Cache = nil
	}
	if described != nil {
		if err := m.addFurther(ctx, described, out); err != nil {
			return err
		}
	}
	if err := hypervisor.CheckPorts(i.Forward); err != nil {
		return err
	}
	m.hw.forward = i.Forward
	if m.hw.firmware.uefi {
		if err := m.hw.firmware.copyTo(m.dir, i.Variables); err != nil {
			return err
		}
	}
	if i.ConsoleLog != "" {
		if m.hw.consoleLog, err = os.OpenFile(i.ConsoleLog, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return err
		}
	}
	if i.NoLogin {
		return nil
	}
	return m.addLogin(seed.Testing)
}

// runLaunched starts the machine and, unless nobody logs in, waits for it.
func (m *machine) runLaunched(ctx context.Context, i platforms.Image, out platforms.Logger) error {
	if err := m.start(ctx); err != nil {
		return err
	}
	if err := m.vm.qmp.Run(ctx, "cont", nil, nil); err != nil {
		return err
	}
	m.vm.typeBoot()
	if i.NoLogin {
		return nil
	}
	return m.login(ctx, out)
}

// Forwarded implements platforms.Forwarder.
func (m *machine) Forwarded(ctx context.Context, port int) (string, error) {
	return m.vm.forwardedTo(ctx, strconv.Itoa(port))
}

// portPause is the time between two tries to connect.
const portPause = 200 * time.Millisecond

// WaitPort implements platforms.PortWaiter. QEMU's network accepts a connection
// before it knows whether the guest does; its table tells what became of it. The
// table names a connection by the forwarded port that it came by, so that one is
// made for this alone.
func (m *machine) WaitPort(ctx context.Context, port int) (err error) {
	guest := strconv.Itoa(port)
	host, err := m.vm.forwardTo(ctx, guest)
	if err != nil {
		return fmt.Errorf("port %d: %w", port, err)
	}
	defer func() {
		if m.vm.Alive() == nil {
			_, removeErr := m.vm.qmp.Human(context.WithoutCancel(ctx), "hostfwd_remove net0 tcp:127.0.0.1:"+host)
			err = errors.Join(err, removeErr)
		}
	}()
	for {
		open, err := m.vm.accepts(ctx, host)
		if err == nil && open {
			return nil
		}
		if alive := m.vm.Alive(); alive != nil {
			return fmt.Errorf("port %d: %w", port, alive)
		}
		if err := wait.Pause(ctx, portPause); err != nil {
			return fmt.Errorf("port %d: nothing accepts connections: %w", port, err)
		}
	}
}

// forwardTo makes a new port of the host lead to one of the guest.
func (v *vm) forwardTo(ctx context.Context, guest string) (host string, err error) {
	v.forwarding.Lock()
	defer v.forwarding.Unlock()
	before, err := v.usernet(ctx)
	if err != nil {
		return "", err
	}
	if said, err := v.qmp.Human(ctx, "hostfwd_add net0 tcp:127.0.0.1:0-:"+guest); err != nil || strings.TrimSpace(said) != "" {
		return "", fmt.Errorf("forward a port: %s %w", strings.TrimSpace(said), err)
	}
	after, err := v.usernet(ctx)
	if err != nil {
		return "", err
	}
	for _, f := range after {
		known := func(o forwarded) bool { return o.state == f.state && o.fromPort == f.fromPort }
		if f.state == "HOST_FORWARD" && f.toPort == guest && !slices.ContainsFunc(before, known) {
			return f.fromPort, nil
		}
	}
	return "", errors.New("QEMU does not tell the port that it forwards")
}

// accepts reports whether the guest accepts a connection by way of a port of the
// host, within two seconds.
func (v *vm) accepts(ctx context.Context, host string) (open bool, err error) {
	conn, err := v.Dial(ctx, net.JoinHostPort("127.0.0.1", host))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for range 20 {
		list, err := v.usernet(ctx)
		if err != nil {
			return false, err
		}
		i := slices.IndexFunc(list, func(f forwarded) bool { return f.fromPort == host && f.state != "HOST_FORWARD" })
		if i >= 0 && list[i].state != "SYN_SENT" {
			return true, nil
		}
		if err := wait.Pause(ctx, 100*time.Millisecond); err != nil {
			return false, err
		}
	}
	return false, nil
}
