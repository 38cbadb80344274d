package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"bake.build/bake/platforms"
)

// loopback is the address by which a guest reaches the loopback of this host.
const loopback = "10.0.2.2"

// installDisk is the size of the disk that an installer gets when none is asked
// for.
const installDisk = 8 << 30

// install lets an installer fill the disk of a first layer.
func (d *driver) install(ctx context.Context, opts Origin, o platforms.Origin, path, dir string, out platforms.Logger) (err error) {
	limit, err := opts.Timeout()
	if err != nil {
		return err
	}
	s := d.settings
	s.resume = false
	m, err := d.newMachine(ctx, s, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.end()) }()
	if err := createImage(ctx, filepath.Join(dir, diskName(0)), cmp.Or(s.diskSize, installDisk)); err != nil {
		return err
	}
	if err := d.addDisks(ctx, dir); err != nil {
		return err
	}
	for i := range 1 + len(s.disks) {
		m.hw.overlays = append(m.hw.overlays, overlay(fmt.Sprintf("disk%d", i), filepath.Join(dir, diskName(i)), nil))
	}
	m.hw.install = &media{cds: []string{path}, floppy: o.Paths["floppy_files"]}
	if cd, err := opts.CD(o, m.dir); err != nil {
		return err
	} else if cd != "" {
		m.hw.install.cds = append(m.hw.install.cds, cd)
	}
	if m.hw.firmware.uefi {
		if err := m.hw.firmware.copyTo(m.dir, filepath.Join(dir, varsName)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the installer has not ended within %v", limit))
	defer cancel()
	if err := opts.Run(ctx, &installing{m: m, out: out}, o, loopback, out); err != nil {
		if m.vm != nil {
			return fmt.Errorf("%w%s", err, tailText(m.vm.console.Tail()))
		}
		return err
	}
	if m.hw.firmware.uefi {
		return copyFile(filepath.Join(dir, varsName), filepath.Join(m.dir, varsName))
	}
	return nil
}

// An installing machine is driven by an installer's options.
type installing struct {
	*vm
	m   *machine
	out platforms.Logger
}

// Start implements installer.Machine.
func (i *installing) Start(ctx context.Context) error {
	if err := i.m.start(ctx); err != nil {
		return err
	}
	i.vm = i.m.vm
	i.console.Follow(i.out)
	return i.qmp.Run(ctx, "cont", nil, nil)
}

// AwaitEnd implements installer.Machine.
func (i *installing) AwaitEnd(ctx context.Context) error { return i.awaitEnd(ctx) }
