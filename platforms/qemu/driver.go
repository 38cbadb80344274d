package qemu

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"

	"bake.build/bake/internal/tool"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/hypervisor"
	"bake.build/bake/platforms/image"
	"bake.build/bake/platforms/seed"
	"bake.build/bake/platforms/ssh"
)

type driver struct {
	host        platforms.Host
	settings    settings
	fingerprint string
	key         func() (*ssh.Key, error)

	accelMu sync.Mutex
	accel   *accelerator // nil until it is chosen

	parked  hypervisor.Parking[*machine]
	merging merging
}

var (
	_ platforms.Driver         = (*driver)(nil)
	_ platforms.Disker         = (*driver)(nil)
	_ platforms.DiskTreer      = (*driver)(nil)
	_ platforms.VariableStorer = (*driver)(nil)
	_ platforms.Treer          = (*driver)(nil)
	_ platforms.Launcher       = (*driver)(nil)
	_ platforms.Checker        = (*driver)(nil)
	_ platforms.Sizer          = (*driver)(nil)
	_ platforms.Closer         = (*driver)(nil)
	_ platforms.Describer      = (*driver)(nil)
)

// Spec declares the platform.
func Spec() platforms.Spec {
	spec := platforms.Declare[Options, Origin](Name,
		"Virtual machines of QEMU on this host, reached over SSH. A machine boots once, runs the steps one after the other, and keeps a layer after each.",
		open)
	spec.Boots = true
	return spec
}

func open(o Options, h platforms.Host) (platforms.Driver, error) {
	s, err := o.settings()
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	d := &driver{host: h, settings: s, key: sync.OnceValues(ssh.NewKey)}
	if d.fingerprint, err = s.fingerprint(); err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	return d, nil
}

// Fingerprint implements platforms.Driver.
func (d *driver) Fingerprint() string { return d.fingerprint }

// MachineSize implements platforms.Sizer. QEMU itself takes some memory beside
// the guest's.
func (d *driver) MachineSize() platforms.Resources {
	return platforms.Resources{Memory: d.settings.memory + 128<<20, CPUs: d.settings.cpus}
}

// Close implements platforms.Closer.
func (d *driver) Close() error { return errors.Join(d.parked.Close(), d.merging.close()) }

// Boot implements platforms.Driver.
func (d *driver) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (platforms.Machine, error) {
	m, err := d.open(ctx, chain, out)
	if err != nil {
		return nil, err // not a machine that is nil
	}
	return m, nil
}

// open gives a machine on the chain in the quickest way that there is.
func (d *driver) open(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (*machine, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if len(chain) == 0 {
		return nil, errors.New("the chain has no layers")
	}
	if err := d.mergeLater(chain); err != nil {
		return nil, err
	}
	ref := chain[len(chain)-1].Ref
	if m, err := d.parked.Take(ref); m != nil || err != nil {
		return m, err
	}
	if d.settings.resume && canKeepMemory {
		m, err := d.resume(ctx, chain)
		if err == nil {
			return m, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !errors.Is(err, errNotKept) {
			fmt.Fprintf(out, "the machine boots, since its memory cannot be resumed: %v\n", err)
			if err := d.forgetMemory(ref); err != nil {
				return nil, err
			}
		}
	}
	return bootAgain(out, func() (*machine, error) { return d.boot(ctx, chain, out) })
}

func (d *driver) forgetMemory(ref string) error {
	cache, err := d.memoryDir()
	if err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(cache, ref))
}

// boot starts a machine on new overlays over the chain.
func (d *driver) boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (*machine, error) {
	m, err := d.assemble(ctx, chain, out)
	if err != nil {
		return nil, err
	}
	if err := m.boot(ctx, out); err != nil {
		return nil, errors.Join(err, m.end())
	}
	m.at = chain[len(chain)-1].Ref
	return m, nil
}

// resume starts a machine from the memory that is kept of the chain's last layer.
func (d *driver) resume(ctx context.Context, chain []platforms.Layer) (_ *machine, err error) {
	ref := chain[len(chain)-1].Ref
	if cache, err := d.memoryDir(); err != nil {
		return nil, err
	} else if !exists(filepath.Join(cache, ref, metaName)) {
		return nil, errNotKept
	}
	m, err := d.assemble(ctx, chain, nil)
	if err != nil {
		return nil, err
	}
	kept, err := d.findMemory(ref, m.hw)
	if err != nil {
		return nil, errors.Join(err, m.end())
	}
	err = m.resume(ctx, kept)
	if err = errors.Join(err, kept.close()); err != nil {
		return nil, errors.Join(err, m.end())
	}
	m.at = ref
	return m, nil
}

// assemble makes what a machine on the chain needs. out is told of a slow
// accelerator; it may be nil.
func (d *driver) assemble(ctx context.Context, chain []platforms.Layer, out io.Writer) (_ *machine, err error) {
	m, err := d.newMachine(ctx, d.settings, out)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.end())
		}
	}()
	for i := range 1 + len(d.settings.disks) {
		below, err := d.shortened(chain, i)
		if err != nil {
			return nil, err
		}
		size, err := virtualSize(filepath.Join(chain[0].Dir, diskName(i)))
		if err != nil {
			return nil, err
		}
		m.sizes = append(m.sizes, size)
		n, err := m.newOverlay(ctx, i, below)
		if err != nil {
			return nil, err
		}
		m.hw.overlays = append(m.hw.overlays, n)
	}
	if m.hw.firmware.uefi {
		if err := m.hw.firmware.copyTo(m.dir, filepath.Join(chain[len(chain)-1].Dir, varsName)); err != nil {
			return nil, err
		}
	}
	return m, m.addLogin(seed.Building)
}

// newMachine makes a machine that has no disk yet.
func (d *driver) newMachine(ctx context.Context, s settings, out io.Writer) (*machine, error) {
	hw := hardware{settings: s}
	var err error
	if hw.binary, err = exec.LookPath(binaryName(hw.arch)); err != nil {
		return nil, fmt.Errorf("QEMU is not installed (apt-get install %s): %w", packages[hw.arch], err)
	}
	if hw.accel, err = d.accelerator(ctx, hw.binary, out); err != nil {
		return nil, err
	}
	if hw.firmware, err = hw.firmware.find(hw.arch); err != nil {
		return nil, err
	}
	dir, remove, err := d.host.TempDir("qemu")
	if err != nil {
		return nil, err
	}
	hw.dir = dir
	return &machine{d: d, dir: dir, remove: remove, hw: hw}, nil
}

// accelerator chooses one when the first machine starts, and warns once.
func (d *driver) accelerator(ctx context.Context, binary string, out io.Writer) (string, error) {
	if d.settings.accel != "auto" {
		return d.settings.accel, nil
	}
	d.accelMu.Lock()
	defer d.accelMu.Unlock()
	if d.accel == nil {
		cache, err := d.host.CacheDir("qemu")
		if err != nil {
			return "", err
		}
		a, err := chooseAccelerator(ctx, binary, d.settings.arch, cache)
		if err != nil {
			return "", fmt.Errorf("choose an accelerator: %w", err)
		}
		d.accel = &a
	}
	if d.accel.warning != "" && out != nil {
		if _, err := fmt.Fprintln(out, d.accel.warning); err != nil {
			return "", err
		}
		d.accel.warning = ""
	}
	return d.accel.name, nil
}

// addLogin puts what lets bake in where a machine finds it when it boots.
func (m *machine) addLogin(stage seed.Stage) (err error) {
	key, err := m.d.key()
	if err != nil {
		return err
	}
	login := seed.Login{User: m.hw.login.User, Key: key.Authorized(), Stage: stage, Door: true}
	m.hw.credential = login.Credential()
	m.hw.seed = filepath.Join(m.dir, "seed.iso")
	f, err := os.OpenFile(m.hw.seed, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(login.NoCloud(f), f.Close())
}

// newOverlay makes an empty image for what disk i takes from now on.
func (m *machine) newOverlay(ctx context.Context, i int, below *node) (*node, error) {
	name := fmt.Sprintf("disk%d-%d", i, m.overlays)
	m.overlays++
	path := filepath.Join(m.dir, name+".qcow2")
	if err := createImage(ctx, path, m.sizes[i]); err != nil {
		return nil, err
	}
	return overlay(name, path, below), nil
}

// createImage makes an empty qcow2 image.
func createImage(ctx context.Context, path string, size int64) error {
	return qemuImg(ctx, nil, "create", "-q", "-f", "qcow2", "--", path, strconv.FormatInt(size, 10))
}

// convert writes the disk in an image as a new image.
func convert(ctx context.Context, n *node, format, dst string) error {
	source, err := n.Locator()
	if err != nil {
		return err
	}
	return qemuImg(ctx, nil, "convert", "-O", format, "--", source, dst)
}

// resize changes the size of the disk in a qcow2 image.
func resize(ctx context.Context, path string, size int64) error {
	n, err := image.Open(path, "qcow2")
	if err != nil {
		return err
	}
	n.ReadOnly = false
	target, err := n.Locator()
	if err != nil {
		return err
	}
	return qemuImg(ctx, nil, "resize", "-q", "--", target, strconv.FormatInt(size, 10))
}

// qemuImg runs qemu-img, on images that image.Open has seen. out gets its output; it may be nil.
func qemuImg(ctx context.Context, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "qemu-img", args...)
	said := newOutput()
	cmd.Stderr, cmd.Stdout = said, said
	if out != nil {
		cmd.Stdout = out
	}
	if err := tool.Run(cmd); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("qemu-img %s: %s", args[0], said.Why(err))
	}
	return nil
}

// virtualSize returns the size in bytes of the disk in a qcow2 image; see
// "Header" in QEMU's docs/interop/qcow2.txt.
func virtualSize(path string) (size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var header [32]byte
	if _, err := io.ReadFull(f, header[:]); err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	if string(header[:4]) != "QFI\xfb" {
		return 0, fmt.Errorf("read %s: not a qcow2 image", path)
	}
	return int64(binary.BigEndian.Uint64(header[24:])), nil
}

// newRef returns a reference that no other layer has.
func newRef() string { return rand.Text() }
