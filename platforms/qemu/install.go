package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"bake.build/bake/platforms"
)

// installDisk is the size of the disk that an installer gets when none is asked
// for.
const installDisk = 8 << 30

// install lets an installer fill the disk of a first layer.
func (d *driver) install(ctx context.Context, opts Origin, o platforms.Origin, path, dir string, out platforms.Sink) (err error) {
	wait, err := durationOr(opts.BootWait, 10*time.Second)
	if err != nil {
		return fmt.Errorf("option boot_wait: %w", err)
	}
	limit, err := durationOr(opts.InstallTimeout, time.Hour)
	if err != nil {
		return fmt.Errorf("option install_timeout: %w", err)
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
	if paths := o.PathsOf("cd_files"); len(paths)+len(opts.CDFiles) > 0 {
		cd := filepath.Join(m.dir, "files.iso")
		if err := writeCD(cd, cmp.Or(opts.CDLabel, "cidata"), paths, opts.CDFiles); err != nil {
			return fmt.Errorf("option cd_files: %w", err)
		}
		m.hw.install.cds = append(m.hw.install.cds, cd)
	}
	if m.hw.firmware.uefi {
		if err := m.hw.firmware.copyTo(m.dir, filepath.Join(dir, varsName)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the installer has not ended within %v", limit))
	defer cancel()
	if err := m.runInstaller(ctx, opts, o.PathsOf("http"), wait, out); err != nil {
		if m.vm != nil {
			return fmt.Errorf("%w%s", err, tailText(m.vm.console.tail()))
		}
		return err
	}
	if m.hw.firmware.uefi {
		return copyFile(filepath.Join(dir, varsName), filepath.Join(m.dir, varsName))
	}
	return nil
}

func durationOr(text string, d time.Duration) (time.Duration, error) {
	if text == "" {
		return d, nil
	}
	return platforms.ParseDuration(text)
}

// runInstaller starts the machine, types, and waits until it shuts down.
func (m *machine) runInstaller(ctx context.Context, opts Origin, served []string, wait time.Duration, out platforms.Sink) (err error) {
	address := "http://10.0.2.2/"
	if len(served)+len(opts.HTTP) > 0 {
		server, err := serve(served, opts.HTTP)
		if err != nil {
			return fmt.Errorf("option http: %w", err)
		}
		defer func() { err = errors.Join(err, server.close()) }()
		address = server.address
	}
	strokes, err := parseKeys(opts.BootCommand, address)
	if err != nil {
		return err
	}
	if err := m.start(ctx); err != nil {
		return err
	}
	m.vm.console.follow(out)
	if err := m.vm.qmp.Run(ctx, "cont", nil, nil); err != nil {
		return err
	}
	if len(strokes) > 0 {
		out.Progress("wait for the boot menu", 0, 0)
		if err := m.vm.rest(ctx, wait); err != nil {
			return err
		}
		out.Progress("type the boot command", 0, 0)
		if err := m.vm.typeKeys(ctx, strokes); err != nil {
			return err
		}
	}
	out.Progress("install", 0, 0)
	return m.vm.awaitEnd(ctx)
}

// rest waits while the machine goes on.
func (v *vm) rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-v.ended:
		return v.alive()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
