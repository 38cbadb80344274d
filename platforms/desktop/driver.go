package desktop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/hypervisor"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/ssh"
)

// kindMachine is the kind of the one resource: a machine, whose ID is its directory.
const kindMachine = "machine"

// A Driver makes machines by a Hypervisor. It is safe for concurrent use.
type Driver struct {
	*resource.Manager

	name        string
	host        platforms.Host
	settings    settings
	hv          Hypervisor
	fingerprint string
	key         func() (*ssh.Key, error)
	parked      hypervisor.Parking[*machine]
}

var (
	_ platforms.Driver           = (*Driver)(nil)
	_ platforms.Disker           = (*Driver)(nil)
	_ platforms.Launcher         = (*Driver)(nil)
	_ platforms.PinNamer         = (*Driver)(nil)
	_ platforms.Limiter          = (*Driver)(nil)
	_ platforms.Sizer            = (*Driver)(nil)
	_ platforms.Describer        = (*Driver)(nil)
	_ platforms.GarbageCollector = (*Driver)(nil)
	_ platforms.Closer           = (*Driver)(nil)
)

// New makes the driver of the platform called name. all are the options of the platform's
// own struct, in which o is embedded.
func New(name string, o Options, all any, h platforms.Host, hv Hypervisor) (*Driver, error) {
	s, err := o.settings()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("%s: options: %w", name, err)
	}
	d := &Driver{name: name, host: h, settings: s, hv: hv, key: sync.OnceValues(ssh.NewKey)}
	if d.fingerprint, err = s.fingerprint(name); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d.Manager = &resource.Manager{
		Platform: name, Options: text, Ledger: h.Ledger(),
		Kinds: []resource.Kind{{Name: kindMachine, Remove: d.collect}},
	}
	return d, nil
}

// Fingerprint implements platforms.Driver.
func (d *Driver) Fingerprint() string { return d.fingerprint }

// MaxMachines implements platforms.Limiter.
func (d *Driver) MaxMachines() int { return d.settings.machines }

// MachineSize implements platforms.Sizer. The hypervisor takes some memory beside the
// guest's.
func (d *Driver) MachineSize() platforms.Resources {
	h := d.settings.hardware(d.settings.said)
	memory, err := h.MemorySize()
	if err != nil {
		memory = 0 // settings has read it before
	}
	return platforms.Resources{Memory: memory + 256<<20, CPUs: h.CPUs}
}

// Describe implements platforms.Describer. What a descriptor says is known when it is
// read.
func (d *Driver) Describe(context.Context, platforms.Origin) (platforms.Traits, error) {
	if f := d.settings.said.Firmware; f != "" {
		return platforms.Traits{Arch: "amd64", Boot: f}, nil
	}
	return platforms.Traits{Arch: "amd64"}, nil
}

// Boot implements platforms.Driver.
func (d *Driver) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (platforms.Machine, error) {
	m, err := d.open(ctx, chain, out)
	if err != nil {
		return nil, err
	}
	return &handle{machine: m}, nil
}

// open gives a machine on the chain: one that was left there, or a new one.
func (d *Driver) open(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (*machine, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if len(chain) == 0 {
		return nil, errors.New("the chain has no layers")
	}
	ref := chain[len(chain)-1].Ref
	if m, err := d.parked.Take(ref); m != nil || err != nil {
		return m, err
	}
	m, err := d.boot(ctx, chain, out)
	if err == nil {
		m.at = ref
	}
	return m, err
}

// Close implements platforms.Closer: machines that wait for another user end.
func (d *Driver) Close() error { return d.parked.Close() }

// collect ends a machine that a killed build has left.
func (d *Driver) collect(ctx context.Context, r platforms.Resource) (platforms.Collected, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, removeTimeout, errors.New("the hypervisor does not end the machine"))
	defer cancel()
	found, err := d.hv.Remove(ctx, r.ID)
	if err != nil {
		return platforms.Collected{}, fmt.Errorf("%s: end the machine in %s: %w", d.name, r.ID, err)
	}
	left, err := removeDir(r.ID)
	return platforms.Collected{Removed: found || left}, err
}
