package all_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testsshd"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/hypervisor"
	"bake.build/bake/platforms/installer"
	"bake.build/bake/platforms/ssh"
)

// The driver of a hypervisor, as docs/adding-a-platform.md describes it. Its virtual
// machines are SSH servers in namespaces, and a disk is the directory of what differs
// from this host's files.

// hyperOptions are the options of hyper().
type hyperOptions struct {
	Hostname string `bake:"hostname" json:"hostname,omitempty" help:"The name that machines have." default:"machine"`

	ssh.Login
}

// hyperOrigin are the options of source() there.
type hyperOrigin struct {
	Scratch bool   `bake:"scratch,origin" json:"scratch,omitempty" help:"Begin on an empty disk."`
	ISO     string `bake:"iso,path,origin" json:"iso,omitempty" help:"An installer."`

	installer.Options
}

func hyperSpec() platforms.Spec {
	spec := platforms.Declare[hyperOptions, hyperOrigin]("hyper", "Virtual machines of a toy.",
		func(o hyperOptions, h platforms.Host) (platforms.Driver, error) {
			key, err := ssh.NewKey()
			return &hyper{options: o, host: h, key: key}, err
		})
	spec.Boots = true
	return spec
}

type hyper struct {
	options hyperOptions
	host    platforms.Host
	key     *ssh.Key
}

// Fingerprint implements platforms.Driver.
func (d *hyper) Fingerprint() string { return "hyper/1 " + d.options.Hostname }

// Pin implements platforms.Driver. Its origins are inputs of the plan.
func (d *hyper) Pin(_ context.Context, o platforms.Origin) (platforms.Origin, error) {
	var opts hyperOrigin
	if err := o.Decode(&opts); err != nil {
		return o, err
	}
	if err := opts.Check("hyper", o.Kind, o.Paths); err != nil {
		return o, &platforms.OptionError{Err: err}
	}
	return o, nil
}

// Import implements platforms.Driver.
func (d *hyper) Import(ctx context.Context, o platforms.Origin, dir string, out platforms.Logger) (platforms.Made, error) {
	var opts hyperOrigin
	if err := o.Decode(&opts); err != nil {
		return platforms.Made{}, err
	}
	disk := filepath.Join(dir, "disk")
	if err := os.MkdirAll(filepath.Join(disk, "etc"), 0o755); err != nil || o.Kind != "iso" {
		return platforms.Made{}, err
	}
	limit, err := opts.Timeout()
	if err != nil {
		return platforms.Made{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errors.New("the installer has not ended"))
	defer cancel()
	return platforms.Made{}, opts.Run(ctx, &firmware{disk: disk}, o, "127.0.0.1", out)
}

var hyperAddresses atomic.Int32

// Boot implements platforms.Driver.
func (d *hyper) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (platforms.Machine, error) {
	return d.start(ctx, out, filepath.Join(chain[len(chain)-1].Dir, "disk"))
}

// Launch implements platforms.Launcher.
func (d *hyper) Launch(ctx context.Context, i platforms.Image, out platforms.Logger) (platforms.Machine, error) {
	dir, remove, err := d.host.TempDir("launched")
	if err != nil {
		return nil, err
	}
	if said, err := exec.Command("tar", "-xf", i.Path, "-C", dir).CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s", err, said), remove())
	}
	m, err := d.start(ctx, out, dir)
	if err = errors.Join(err, remove()); err != nil {
		return nil, err
	}
	m.launched = true
	if m.forwards, err = hypervisor.Forward(i.Forward, m.dialPort); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// start starts a machine whose disk begins as a directory.
func (d *hyper) start(ctx context.Context, out platforms.Logger, disk string) (_ *virtual, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, remove, err := d.host.TempDir("hyper")
	if err != nil {
		return nil, err
	}
	vm := &virtual{remove: remove}
	vm.Server = testsshd.Server{
		Dir: dir, Upper: disk, AuthorizedKeys: d.key.Authorized(),
		Address: fmt.Sprintf("127.86.%d.%d:22", os.Getpid()%250+1, hyperAddresses.Add(1)%250+1),
		Setup:   "hostname '" + cmp.Or(d.options.Hostname, "machine") + "'",
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, vm.end())
		}
	}()
	if err := vm.Start(); err != nil {
		return nil, err
	}
	c, err := d.options.Config(d.host, d.key, "root")
	if err != nil {
		return nil, err
	}
	if c.Caches, err = d.host.CacheDir("hyper-caches"); err != nil {
		return nil, err
	}
	c.Address, c.OwnRoute = vm.Address, true
	c.Dial = func(ctx context.Context) (net.Conn, error) { return vm.Dial(ctx, vm.Address) }
	c.Alive, c.Restarts = vm.Alive, vm.Restarts
	if vm.onLink, err = ssh.Connect(ctx, c, out); err != nil {
		return nil, err
	}
	return vm, nil
}

// Disk implements platforms.Disker. The toy's clouds take an archive for a disk.
func (d *hyper) Disk(_ context.Context, chain []platforms.Layer, dst string, _ platforms.Logger) error {
	out, err := exec.Command("tar", "-cf", dst, "-C", filepath.Join(chain[len(chain)-1].Dir, "disk"), ".").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// A virtual machine.
type virtual struct {
	testsshd.Server
	hypervisor.State
	onLink
	forwards *hypervisor.Forwards // nil for a machine of a layer
	remove   func() error
	ended    bool
	launched bool // of an image, whose state is kept by nobody
}

// dialPort connects to a port of the machine.
func (m *virtual) dialPort(ctx context.Context, port int) (net.Conn, error) {
	host, _, err := net.SplitHostPort(m.Address)
	if err != nil {
		return nil, err
	}
	return m.Dial(ctx, net.JoinHostPort(host, strconv.Itoa(port)))
}

// Forwarded implements platforms.Forwarder.
func (m *virtual) Forwarded(_ context.Context, port int) (string, error) {
	return m.forwards.Address(port)
}

// onLink is what the SSH machine does for every hypervisor.
type onLink interface {
	Run(ctx context.Context, c platforms.Cmd) error
	Write(ctx context.Context, dst string, tar io.Reader) error
	Read(ctx context.Context, src string, tar io.Writer) error
	Close() error
}

// Commit implements platforms.Machine.
func (m *virtual) Commit(ctx context.Context, s platforms.State) (platforms.Made, error) {
	if m.launched {
		return platforms.Made{}, errors.New("commit: the machine of an image makes no layers")
	}
	if err := m.Run(ctx, platforms.Cmd{Args: []string{"sync"}}); err != nil {
		return platforms.Made{}, err
	}
	return platforms.Made{}, m.Save(filepath.Join(s.Dir, "disk"))
}

// Close implements platforms.Machine.
func (m *virtual) Close() error {
	if m.ended {
		return nil
	}
	return errors.Join(m.onLink.Close(), m.end())
}

func (m *virtual) end() error {
	m.ended = true
	m.Fail(errors.New("the machine is closed"))
	if m.forwards != nil {
		if err := m.forwards.Close(); err != nil {
			return err
		}
	}
	return errors.Join(m.Stop(), m.remove())
}

// firmware is a virtual machine that starts from a CD. Its installer takes the address
// that is typed for that of its answers.
type firmware struct {
	disk  string
	typed strings.Builder
}

// Start implements installer.Machine.
func (f *firmware) Start(context.Context) error { return nil }

// Send implements installer.Keyboard.
func (f *firmware) Send(_ context.Context, s installer.Stroke) error {
	signs := map[string]string{"semicolon": ":", "slash": "/", "dot": ".", "shift": "", "ret": "\n"}
	for _, k := range s.Keys {
		sign, ok := signs[k.QEMU]
		if !ok {
			sign = k.QEMU
		}
		f.typed.WriteString(sign)
	}
	return nil
}

// Rest implements installer.Keyboard. The toy's time flies.
func (f *firmware) Rest(ctx context.Context, _ time.Duration) error { return ctx.Err() }

// AwaitEnd implements installer.Machine.
func (f *firmware) AwaitEnd(ctx context.Context) error {
	address, entered := strings.CutSuffix(f.typed.String(), "\n")
	if !entered {
		return errors.New("the installer waits for the enter key")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("%s: %s", address, answer.Status), err)
	}
	return os.WriteFile(filepath.Join(f.disk, "etc/installed"), text, 0o644)
}

func needHyper(t *testing.T) {
	t.Helper()
	need.Root(t)
	need.Tool(t, testsshd.Tools...)
}
