package desktop

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/hypervisor"
	"bake.build/bake/platforms/image"
	"bake.build/bake/platforms/seed"
)

// Launch implements platforms.Launcher. The machine is as the image describes it, and
// writes to a medium of its own.
func (d *Driver) Launch(ctx context.Context, i platforms.Image, out platforms.Logger) (_ platforms.Machine, err error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	format, ok := platforms.DiskFormatNamed(i.Format)
	switch {
	case !ok:
		return nil, fmt.Errorf("launch: %s does not start from the format %q", d.name, i.Format)
	case i.Changes != "":
		return nil, fmt.Errorf("launch: %s keeps nothing of what a machine writes: leave that to qemu", d.name)
	case i.Arch != "" && i.Arch != "amd64":
		return nil, fmt.Errorf("launch: the image is for %s, and the platform's machines are amd64", i.Arch)
	}
	m, err := d.launch(ctx, i, format, out)
	if err != nil {
		return nil, fmt.Errorf("launch %s: %w", filepath.Base(i.Path), err)
	}
	return &handle{machine: m}, nil
}

func (d *Driver) launch(ctx context.Context, i platforms.Image, format platforms.DiskFormat, out platforms.Logger) (_ *machine, err error) {
	var described *image.Machine
	a := about{Disks: 1}
	if format.Machine {
		var done func() error
		if described, done, err = d.described(ctx, i.Path, out); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, done()) }()
		a = about{Disks: len(described.Disks), Hardware: described.Hardware}
	}
	// What ships is what is tested: the descriptor counts more than the platform.
	h := merge(a.Hardware, d.settings.said)
	if i.UEFI {
		h = merge(h, hardware.Options{Firmware: "uefi"})
	}
	if h.Memory == "" {
		h.Memory = "1G"
	}
	m, err := d.newMachine(ctx, h.Described(i.UEFI))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.End())
		}
	}()
	m.launched, m.plain = true, i.User != ""
	s := m.spec()
	for n := range a.Disks {
		media, err := d.launchDisk(ctx, i, described, n, m.dir, out)
		if err != nil {
			return nil, err
		}
		m.chains = append(m.chains, []string{media})
		s.Disks = append(s.Disks, Disk{Media: m.chains[n]})
	}
	if !i.NoLogin {
		if err := m.letIn(&s, seed.Testing); err != nil {
			return nil, err
		}
	}
	if err := m.start(ctx, s, i.ConsoleLog); err != nil {
		return nil, err
	}
	m.typeBoot()
	if m.forwards, err = hypervisor.Forward(i.Forward, m.dialPort); err != nil || i.NoLogin {
		return m, err
	}
	return m, m.login(ctx, out)
}

// described opens what describes a machine, and may be compressed. done closes it.
func (d *Driver) described(ctx context.Context, path string, out platforms.Logger) (_ *image.Machine, done func() error, err error) {
	scratch, remove, err := d.host.TempDir("launch")
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove())
		}
	}()
	if path, err = image.Unpack(ctx, path, scratch, telling(out, "decompress the box")); err != nil {
		return nil, nil, err
	}
	m, err := image.OpenMachine(path)
	if err == nil && m == nil {
		err = errors.New("does not describe a machine")
	}
	if err != nil {
		return nil, nil, err
	}
	return m, func() error { return errors.Join(m.Close(), remove()) }, nil
}

// launchDisk makes the medium of disk n of an image.
func (d *Driver) launchDisk(ctx context.Context, i platforms.Image, m *image.Machine, n int, dir string, out platforms.Logger) (medium string, err error) {
	path, capacity := i.Path, int64(0)
	if m != nil {
		if path, err = m.Disk(ctx, n, dir, telling(out, "extract the disk")); err != nil {
			return "", err
		}
		capacity = m.Disks[n].Capacity
	}
	raw, _, err := d.raw(ctx, path, capacity, filepath.Join(dir, fmt.Sprintf("launched%d.raw", n)), out)
	if err != nil {
		return "", err
	}
	medium = filepath.Join(dir, fmt.Sprintf("disk%d-0%s", n, d.hv.Media().Ext()))
	return medium, WriteMedium(ctx, d.hv.Media(), medium, raw)
}
