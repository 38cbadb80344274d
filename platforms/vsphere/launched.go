package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/vmdk"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/hypervisor"
	"bake.build/bake/platforms/wait"
)

// Launch implements platforms.Launcher: the image is imported as whoever gets it would do
// it, by its own descriptor, and its machine goes when it is closed.
func (d *driver) Launch(ctx context.Context, i platforms.Image, out platforms.Logger) (platforms.Machine, error) {
	m, err := d.launchImage(ctx, i, out)
	if err != nil {
		return nil, fmt.Errorf("launch %s: %w", filepath.Base(i.Path), err)
	}
	return m, nil
}

func (d *driver) launchImage(ctx context.Context, i platforms.Image, out platforms.Logger) (platforms.Machine, error) {
	if i.Changes != "" {
		return nil, errors.New("what the machine writes stays in vCenter, and goes with it")
	}
	upload := d.importPackage
	switch i.Format {
	case "ova", "ovf":
	case "raw":
		upload = d.importRaw(i.UEFI)
	default:
		return nil, fmt.Errorf("vSphere starts from an ova, an ovf or a raw disk, and this is %s: export one of these, and give format where there are several", i.Format)
	}
	b, ref, record, err := d.bear(ctx, func(ctx context.Context, b *birth) (ref types.ManagedObjectReference, err error) {
		extra, err := d.guestinfo(b.token, b.name)
		if err != nil {
			return ref, err
		}
		return upload(ctx, i.Path, b, d.ownMarks(&vm{}, b.token), extra, out)
	})
	if err != nil {
		return nil, err
	}
	l := &launched{machine: &machine{d: d, name: b.name, ref: ref, record: record, logger: out, user: i.User}}
	if err := l.open(ctx, i); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// importRaw returns what imports a machine with a raw disk.
func (d *driver) importRaw(uefi bool) func(ctx context.Context, path string, b *birth, marks map[string]string, extra []types.BaseOptionValue, out platforms.Logger) (types.ManagedObjectReference, error) {
	return func(ctx context.Context, path string, b *birth, marks map[string]string, extra []types.BaseOptionValue, out platforms.Logger) (ref types.ManagedObjectReference, err error) {
		size, err := sizeOf(path)
		if err != nil {
			return ref, err
		}
		t, err := d.target(ctx)
		if err != nil {
			return ref, err
		}
		i := &importing{d: d, target: t, folder: b.folder, out: out}
		o := ofVMware(nil).Described(uefi)
		o.Network = t.network.name
		if err := i.ofRaw(ctx, b.name, o, path, size, vmdk.IdentityOf([32]byte{})); err != nil {
			return ref, err
		}
		return i.begin(ctx, marks, extra)
	}
}

// A launched machine is one of an image.
type launched struct {
	*machine
	forwards *hypervisor.Forwards
	bare     bool       // nobody logs in
	finding  sync.Mutex // is held while the address of one that nobody logs in to is looked for
}

var (
	_ platforms.Machine    = (*launched)(nil)
	_ platforms.Forwarder  = (*launched)(nil)
	_ platforms.PortWaiter = (*launched)(nil)
)

// open starts the machine and the forwarding of its ports.
func (l *launched) open(ctx context.Context, i platforms.Image) (err error) {
	if l.bare = i.NoLogin; l.bare {
		err = l.d.powerOn(ctx, l.ref, l.name, l.logger)
	} else {
		err = l.start(ctx)
	}
	if err == nil && len(i.Forward) > 0 {
		l.forwards, err = hypervisor.Forward(i.Forward, l.dial)
	}
	return err
}

// dial connects to a port of the machine, at the address that VMware Tools tell.
func (l *launched) dial(ctx context.Context, port int) (net.Conn, error) {
	address, err := l.where(ctx)
	if err != nil {
		return nil, err
	}
	return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
}

func (l *launched) where(ctx context.Context) (_ string, err error) {
	l.finding.Lock()
	defer l.finding.Unlock()
	if l.address == "" {
		l.address, err = l.waitAddress(ctx, addressTimeout)
	}
	return l.address, err
}

const (
	addressTimeout = 10 * time.Minute // until tools tell an address, where nobody logs in
	dialTimeout    = 5 * time.Second
)

// errBare says that nobody logs in.
var errBare = errors.New("no SSH login: the machine was launched without one")

// Run implements platforms.Machine.
func (l *launched) Run(ctx context.Context, c platforms.Cmd) error {
	if l.bare {
		return errBare
	}
	return l.machine.Run(ctx, c)
}

// Write implements platforms.Machine.
func (l *launched) Write(ctx context.Context, dst string, tar io.Reader) error {
	if l.bare {
		return errBare
	}
	return l.machine.Write(ctx, dst, tar)
}

// Read implements platforms.Machine.
func (l *launched) Read(ctx context.Context, src string, tar io.Writer) error {
	if l.bare {
		return errBare
	}
	return l.machine.Read(ctx, src, tar)
}

// Commit implements platforms.Machine.
func (*launched) Commit(context.Context, platforms.State) (platforms.Made, error) {
	return platforms.Made{}, errors.New("a machine of an image has no layers")
}

// WaitPort implements platforms.PortWaiter.
func (l *launched) WaitPort(ctx context.Context, port int) error {
	if !l.bare {
		return l.machine.WaitPort(ctx, port)
	}
	loop := wait.Loop{What: fmt.Sprintf("port %d", port), Backoff: wait.Backoff{Next: l.d.pause, Most: max(time.Second, l.d.pause)}}
	err := loop.Until(ctx, func(ctx context.Context) (bool, error) {
		conn, err := l.dial(ctx, port)
		if err == nil {
			return true, conn.Close()
		}
		return false, l.Gone(ctx)
	})
	if ctx.Err() != nil && err != nil {
		return fmt.Errorf("port %d: nothing accepts connections: %w", port, context.Cause(ctx))
	}
	return err
}

// Forwarded implements platforms.Forwarder.
func (l *launched) Forwarded(_ context.Context, port int) (string, error) {
	if l.forwards == nil {
		return "", fmt.Errorf("no local port is forwarded to the machine's port %d", port)
	}
	return l.forwards.Address(port)
}

// Close implements platforms.Machine.
func (l *launched) Close() error {
	var err error
	if l.forwards != nil {
		err = l.forwards.Close()
	}
	if l.Machine != nil {
		return errors.Join(err, l.machine.Close())
	}
	l.once.Do(func() { err = errors.Join(err, l.End()) })
	return err
}
