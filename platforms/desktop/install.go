package desktop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/installer"
	"bake.build/bake/platforms/wait"
)

// installDisk is the size of the disk that an installer gets when none is asked for.
const installDisk = 8 << 30

// install lets an installer fill the disk of a first layer.
func (d *Driver) install(ctx context.Context, opts Origin, o platforms.Origin, path, dir string, out platforms.Logger) (_ hardware.Options, err error) {
	h := d.settings.hardware(hardware.Options{})
	limit, err := opts.Timeout()
	if err != nil {
		return h, err
	}
	m, err := d.newMachine(ctx, h)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, m.End()) }()
	s, err := d.installSpec(ctx, m, opts, o, path)
	if err != nil {
		return h, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the installer has not ended within %v", limit))
	defer cancel()
	if m.vm, err = d.hv.Create(ctx, s); err != nil {
		return h, err
	}
	k, err := m.keyboard()
	if err != nil {
		return h, err
	}
	host, err := k.k.Host()
	if err != nil {
		return h, err
	}
	if err := opts.RunAt(ctx, &installing{keyboard: k, spec: s, out: out}, o, host, out); err != nil {
		return h, fmt.Errorf("%w%s", err, m.tailText())
	}
	// The hypervisor lets go of the medium before it is moved.
	if _, err := d.hv.Remove(ctx, m.dir); err != nil {
		return h, err
	}
	if err := os.Rename(m.chains[0][0], filepath.Join(dir, d.mediumName(0))); err != nil {
		return h, err
	}
	if err := m.keepVariables(ctx, dir); err != nil {
		return h, err
	}
	return h, about{Disks: 1, Hardware: h}.write(dir)
}

// installSpec describes a machine with an empty disk and the installer's CDs.
func (d *Driver) installSpec(ctx context.Context, m *machine, opts Origin, o platforms.Origin, path string) (s Spec, err error) {
	if o.Paths["floppy_files"] != "" || opts.FloppyFiles != "" {
		return s, fmt.Errorf("option floppy_files: %s has no floppy drive in bake: give cd_files", d.name)
	}
	raw := filepath.Join(m.dir, "empty.raw")
	if err := empty(raw, cmp.Or(d.settings.diskSize, installDisk)); err != nil {
		return s, err
	}
	medium := filepath.Join(m.dir, "disk0-0"+d.hv.Media().Ext())
	if err := WriteMedium(ctx, d.hv.Media(), medium, raw); err != nil {
		return s, err
	}
	s = m.spec()
	m.chains = [][]string{{medium}}
	s.Disks = []Disk{{Media: m.chains[0], Own: true}}
	// An empty disk does not boot, and one with a system does: so the installer starts
	// once.
	s.Boot, s.CDs = []string{"disk", "cd"}, []string{path}
	cd, err := opts.CD(o, m.dir)
	if cd != "" {
		s.CDs = append(s.CDs, cd)
	}
	return s, err
}

// keyboard returns the machine's, or says that it has none.
func (m *machine) keyboard() (*keyboard, error) {
	k, ok := m.vm.(Keyboard)
	if !ok {
		return nil, fmt.Errorf("%s has no way to type on its machines' keyboards", m.d.name)
	}
	return &keyboard{m: m, k: k}, nil
}

// A keyboard is the machine's, for an installer's options.
type keyboard struct {
	m *machine
	k Keyboard
}

var _ installer.Keyboard = (*keyboard)(nil)

// Send implements installer.Keyboard.
func (k *keyboard) Send(ctx context.Context, s installer.Stroke) error {
	if err := k.k.Type(ctx, s); err != nil {
		return errors.Join(err, k.m.Alive())
	}
	return nil
}

// Rest implements installer.Keyboard.
func (k *keyboard) Rest(ctx context.Context, d time.Duration) error {
	if err := wait.Pause(ctx, d); err != nil {
		return err
	}
	return k.m.Alive()
}

// An installing machine is driven by an installer's options.
type installing struct {
	*keyboard
	spec Spec
	out  platforms.Logger
}

// Start implements installer.Machine.
func (i *installing) Start(ctx context.Context) (err error) {
	if i.m.console, err = followConsole(i.spec.Console, "", i.m.Fail); err != nil {
		return err
	}
	i.m.console.Follow(i.out)
	return i.m.vm.Start(ctx)
}

// AwaitEnd implements installer.Machine.
func (i *installing) AwaitEnd(ctx context.Context) error { return i.m.awaitEnd(ctx) }
