package vsphere

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/instance"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/ssh"
	"bake.build/bake/platforms/wait"
)

// A machine is a virtual machine that steps run in.
type machine struct {
	*instance.Machine

	d       *driver
	name    string
	ref     types.ManagedObjectReference
	uuid    string
	depth   int // disks on which its disk lies
	traits  platforms.Traits
	address string
	logger  platforms.Logger
	record  *resource.Record
	saved   int    // layers of the machine
	user    string // as whom commands run, of an image; "" for root
	once    sync.Once
}

var _ instance.Cloud = (*machine)(nil)

func (m *machine) say(format string, args ...any) {
	_, _ = fmt.Fprintf(m.logger, format+"\n", args...) // the log keeps its own error
}

// start turns the machine on and waits until it can be used.
func (m *machine) start(ctx context.Context) error {
	v, err := m.d.vm(ctx, m.ref)
	if err != nil {
		return err
	}
	m.uuid = v.uuid
	if err := m.d.powerOn(ctx, m.ref, m.name, m.logger); err != nil {
		return err
	}
	key, err := m.d.key()
	if err != nil {
		return err
	}
	login, err := m.login(ctx, key)
	if err != nil {
		return err
	}
	m.Machine, err = instance.Open(ctx, instance.Config{
		Name: m.name, Cloud: m, SSH: login, Key: key, Traits: m.traits,
		Layers: m.d.Cache, Policy: m.d.options.Policy(), Every: lookEvery * m.d.pause,
	}, m.logger)
	return err
}

// lookEvery is how often, in pauses, the server is asked how a machine is.
const lookEvery = 20

// login waits for the machine's address and says how to log in there.
func (m *machine) login(ctx context.Context, key *ssh.Key) (c ssh.Config, err error) {
	if c, err = m.d.options.Login.Config(m.d.host, key, ""); err != nil {
		return c, err
	}
	if m.user != "" {
		c.User, c.Plain = m.user, true
	}
	if c.Caches, err = m.d.host.CacheDir("vsphere-caches"); err != nil {
		return c, err
	}
	if m.address, err = m.waitGuest(ctx, c.Timeout); err != nil {
		return c, err
	}
	c.Address, c.CloudInit = net.JoinHostPort(m.address, "22"), true
	if m.address == "" {
		c.Address, c.Dial, c.OwnRoute = net.JoinHostPort(m.name, "22"), m.dialGuest, true
		if !c.Plain {
			c.User, c.SudoPassword = "root", ""
		}
		return c, nil
	}
	return c, m.d.options.Bastions.Apply(&c)
}

// Gone implements instance.Cloud. What the server does not tell is no reason to give up.
func (m *machine) Gone(ctx context.Context) error {
	v, err := m.d.vm(ctx, m.ref)
	switch {
	case errors.Is(err, wait.ErrNotFound):
		return errors.New("somebody has removed the machine")
	case err == nil && !v.on:
		return errors.New("the machine is off")
	}
	return nil
}

// Snapshots of one machine: vSphere takes 32. The last ones are for layers that something
// needs.
const (
	snapshotsMost = 24
	unneededMost  = 12
)

// Snapshot implements instance.Cloud.
func (m *machine) Snapshot(ctx context.Context, s platforms.State) (ref string, err error) {
	switch {
	case m.saved >= unneededMost && !s.Needed:
		return "", nil
	case m.saved >= snapshotsMost:
		return "", fmt.Errorf("commit %s: %s has %d snapshots, and vSphere takes hardly more of one machine: begin another one with source(layer = …) on one of the steps before", s.Name, m.name, m.saved)
	}
	ref, err = m.d.snapshotLayer(ctx, m.ref, m.name, m.uuid, s, m.depth+m.saved+1, m.logger)
	if is[*types.TooManySnapshotLevels](err) && !s.Needed {
		return "", nil
	} else if err != nil {
		return "", err
	}
	m.saved++
	return ref, nil
}

// Await implements instance.Cloud: a snapshot is complete when its task ends.
func (m *machine) Await(context.Context, string) error { return nil }

// Discard implements instance.Cloud: a snapshot that has failed is not there.
func (m *machine) Discard(context.Context, string) error { return nil }

// End implements instance.Cloud. A machine with layers stays, without what was done since
// the last one; any other goes.
func (m *machine) End() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if _, err := m.d.retire(ctx, m.ref); err != nil {
		return fmt.Errorf("vsphere: clean up (bake gc does it later): %w", err)
	}
	return m.record.Forget()
}
