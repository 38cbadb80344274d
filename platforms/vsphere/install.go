package vsphere

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/installer"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// install makes a machine with an empty disk, has an installer fill it and returns it
// when it is off, without CDs.
func (d *driver) install(ctx context.Context, or Origin, o platforms.Origin, b *birth, out platforms.Logger) (ref types.ManagedObjectReference, err error) {
	limit, err := or.Timeout()
	if err != nil {
		return ref, err
	}
	t, err := d.target(ctx)
	if err != nil {
		return ref, err
	}
	var files resource.Stack
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, files.Close(clean))
	}()
	cds, err := d.cds(ctx, or, o, t, &files, out)
	if err != nil {
		return ref, err
	}
	if ref, err = d.createEmpty(ctx, or.machine(), t, b, out); err != nil {
		return ref, err
	}
	return ref, resource.Unclear(d.fill(ctx, or, o, ref, b.name, cds, limit, out))
}

// fill has an installer on CDs fill the disk of a machine.
func (d *driver) fill(ctx context.Context, or Origin, o platforms.Origin, ref types.ManagedObjectReference, name string, cds []string, limit time.Duration, out platforms.Logger) error {
	if err := d.insert(ctx, ref, name, cds); err != nil {
		return err
	}
	host, err := d.servesAt(ctx)
	if err != nil {
		return err
	}
	run, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the installer has not shut the machine down within %v", limit))
	defer cancel()
	if err := or.RunAt(run, &installing{keyboard{d: d, ref: ref}, name, out}, o, host, out); err != nil {
		// A machine that is on uses the files, which go.
		off, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		return errors.Join(err, d.powerOff(off, ref, name))
	}
	return d.eject(ctx, ref, name)
}

// createEmpty makes a machine whose disk is empty.
func (d *driver) createEmpty(ctx context.Context, m *described, t *target, b *birth, out platforms.Logger) (ref types.ManagedObjectReference, err error) {
	c, err := d.vim(ctx)
	if err != nil {
		return ref, err
	}
	to, ok := object.NewReference(c, t.network.ref).(object.NetworkReference)
	if !ok {
		return ref, fmt.Errorf("network: %s cannot be connected to", t.network.name)
	}
	backing, err := to.EthernetCardBackingInfo(ctx)
	if err != nil {
		return ref, fmt.Errorf("network: %w", explain(err))
	}
	spec, err := m.spec(b.name, backing, t.datastore, t.datastoreName, d.ownMarks(&vm{}, b.token))
	if err != nil {
		return ref, err
	}
	var host *object.HostSystem
	if t.host != nil {
		host = object.NewHostSystem(c, *t.host)
	}
	result, err := d.do(ctx, "make the machine "+b.name, out, func(ctx context.Context) (*object.Task, error) {
		return object.NewFolder(c, b.folder).CreateVM(ctx, spec, object.NewResourcePool(c, t.pool), host)
	})
	if err != nil {
		return ref, err
	}
	if ref, ok = result.(types.ManagedObjectReference); !ok {
		return ref, fmt.Errorf("make the machine %s: the task's result is no virtual machine", b.name)
	}
	return ref, nil
}

// cds returns the places of the installer's CDs. What is uploaded for that goes with
// files.
func (d *driver) cds(ctx context.Context, or Origin, o platforms.Origin, t *target, files *resource.Stack, out platforms.Logger) (cds []string, err error) {
	dir, remove, err := d.host.TempDir("cd")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	var local []string
	if o.Kind == originStored {
		cds = append(cds, or.StoredISO)
	} else {
		f, err := or.file(o)
		if err != nil {
			return nil, err
		}
		path, err := f.Verified(ctx, d.host, out)
		if err != nil {
			return nil, err
		}
		local = append(local, path)
	}
	cd, err := or.CD(o, dir)
	if err != nil {
		return nil, err
	}
	if cd != "" {
		local = append(local, cd)
	}
	for _, path := range local {
		at, err := d.store(ctx, t, path, files, out)
		if err != nil {
			return nil, err
		}
		cds = append(cds, at)
	}
	return cds, nil
}

// insert gives a machine CDs.
func (d *driver) insert(ctx context.Context, ref types.ManagedObjectReference, name string, cds []string) error {
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	o := object.NewVirtualMachine(c, ref)
	list, err := o.Device(ctx)
	if err != nil {
		return fmt.Errorf("look for the devices of %s: %w", name, explain(err))
	}
	var added object.VirtualDeviceList
	for _, path := range cds {
		controller, err := list.FindIDEController("")
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		cd, err := list.CreateCdrom(controller)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		list.InsertIso(cd, path)
		list, added = append(list, cd), append(added, cd)
	}
	return d.change(ctx, ref, name, added, types.VirtualDeviceConfigSpecOperationAdd)
}

// eject takes away the CDs of a machine.
func (d *driver) eject(ctx context.Context, ref types.ManagedObjectReference, name string) error {
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	list, err := object.NewVirtualMachine(c, ref).Device(ctx)
	if err != nil {
		return fmt.Errorf("look for the devices of %s: %w", name, explain(err))
	}
	return d.change(ctx, ref, name, list.SelectByType((*types.VirtualCdrom)(nil)), types.VirtualDeviceConfigSpecOperationRemove)
}

func (d *driver) change(ctx context.Context, ref types.ManagedObjectReference, name string, devices object.VirtualDeviceList, how types.VirtualDeviceConfigSpecOperation) error {
	changes, err := devices.ConfigSpec(how)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return d.reconfigure(ctx, vm{ref: ref, name: name}, types.VirtualMachineConfigSpec{DeviceChange: changes})
}

// servesAt returns how machines reach the files that this host serves.
func (d *driver) servesAt(ctx context.Context) (h installer.Host, err error) {
	if h.Listen, err = d.options.httpAddress(); err != nil {
		return h, err
	}
	if h.Listen == "" {
		c, err := d.vim(ctx)
		if err != nil {
			return h, err
		}
		// Nothing is sent: the system says by which of its addresses it would be.
		conn, err := (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(c.URL().Hostname(), "443"))
		if err != nil {
			return h, fmt.Errorf("http_address: find the address of this host: %w", err)
		}
		own := conn.LocalAddr().(*net.UDPAddr).IP.String()
		if err := conn.Close(); err != nil {
			return h, err
		}
		h.Listen = net.JoinHostPort(own, "0")
	}
	h.Name, _, err = net.SplitHostPort(h.Listen)
	return h, err
}

// An installing machine is driven by an installer's options.
type installing struct {
	keyboard
	name string
	out  platforms.Logger
}

var _ installer.Machine = (*installing)(nil)

// Start implements installer.Machine.
func (i *installing) Start(ctx context.Context) error { return i.d.powerOn(ctx, i.ref, i.name, i.out) }

// AwaitEnd implements installer.Machine.
func (i *installing) AwaitEnd(ctx context.Context) error {
	loop := wait.Loop{What: i.name, Backoff: wait.Backoff{Next: i.d.pause, Most: lookEvery * i.d.pause}}
	return loop.Until(ctx, func(ctx context.Context) (bool, error) {
		v, err := i.d.vm(ctx, i.ref)
		if err != nil {
			return false, err
		}
		return !v.on, nil
	})
}

// sizeOf returns the size of a file of this host.
func sizeOf(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// storedName reads a path on a datastore, such as "[datastore1] iso/debian.iso".
func storedName(text string) (datastore, path string, err error) {
	var p object.DatastorePath
	if !p.FromString(text) || p.Datastore == "" || strings.Trim(p.Path, "/ ") == "" {
		return "", "", fmt.Errorf("%q is not a path on a datastore, such as \"[datastore1] iso/debian.iso\"", text)
	}
	return p.Datastore, strings.Trim(p.Path, "/ "), nil
}
