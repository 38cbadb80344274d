package vsphere

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// dies has the driver reach the server for n requests and never again, as one whose
// process is killed.
func (w *world) dies(n int64) (alive func() bool) {
	var requests atomic.Int64
	w.server.HTTP = func(http.ResponseWriter, *http.Request) bool {
		if requests.Add(1) > n {
			panic(http.ErrAbortHandler)
		}
		return false
	}
	return func() bool { return requests.Load() <= n }
}

// moments are the numbers of requests after which builds die: some of them, or fifty with
// BAKE_TEST_MOMENTS.
func moments(most int64, some int) (list []int64) {
	if os.Getenv("BAKE_TEST_MOMENTS") != "" {
		some = 50
	}
	for range some {
		list = append(list, 1+rand.Int64N(most))
	}
	return list
}

// cleared wants what dead builds have left to be found, by what is in the ledger and by
// marks alone, and removed.
func (w *world) cleared(d *driver, moment string, before int) {
	w.Helper()
	w.collect(d)
	// What is recorded is all that there is.
	if n := len(w.server.VMs()); n != before {
		w.Errorf("%s: %d virtual machines, and before it were %d", moment, n, before)
	}
	orphans, err := d.Orphans(w.Context(), time.Now().Add(time.Hour))
	if err != nil {
		w.Error(err)
	}
	for _, r := range orphans {
		w.Errorf("%s: %+v is left", moment, r)
		if _, err := d.Collect(w.Context(), r); err != nil {
			w.Error(err)
		}
	}
	w.host.Forget()
}

// mortal opens a driver that may fail to end its session.
func (w *world) mortal(change ...func(*Options)) *driver {
	w.Helper()
	d, err := open(w.options(change...), w.host)
	if err != nil {
		w.Fatal(err)
	}
	d.pause = time.Millisecond
	d.connection.pause = d.pause
	return d
}

// TestKilledUpload kills builds that upload an image, and collects what they have left.
func TestKilledUpload(t *testing.T) {
	w := newWorld(t)
	where := func(o *Options) { o.Datastore = "LocalDS_0"; o.Network = "VM Network" }
	disk := w.disk()
	gc := w.open(where)
	if _, err := gc.ownFolder(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, n := range moments(60, 12) {
		moment := fmt.Sprintf("build %d, which died after %d requests", i, n)
		before := len(w.server.VMs())
		alive := w.dies(n)
		d := w.mortal(where)
		p := publication(Publication{}, fmt.Sprintf("%012x", i))
		found, err := d.Publish(t.Context(), p, platforms.ImageSource{Disk: disk}, &platformtest.Log{})
		if alive() && (err != nil || len(found) != 1) {
			t.Errorf("%s: %v", moment, err)
		}
		w.server.HTTP = nil
		if _, why, err := gc.Published(t.Context(), p); err != nil {
			t.Fatal(err)
		} else if why == "" {
			before++
		}
		w.cleared(gc, moment, before)
	}
}

// TestKilledMachine kills builds whose steps run in a machine. Layers stay.
func TestKilledMachine(t *testing.T) {
	w, template := newFleet(t)
	gc := w.open(launching())
	// A driver that has found no folder of bake's does not look again.
	if _, err := gc.ownFolder(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, n := range moments(45, 4) {
		moment := fmt.Sprintf("build %d, which died after %d requests", i, n)
		before := len(w.server.VMs())
		w.dies(n)
		d := w.mortal(launching(func(o *Options) { o.Checkpoint, o.BootTimeout = "every-step", "2s" }))
		m, err := d.Boot(t.Context(), []platforms.Layer{{Ref: template}}, &platformtest.Log{})
		if err == nil {
			_, err = m.Commit(t.Context(), platforms.State{Key: key(fmt.Sprint(i)), Name: "step", Needed: true})
			_ = m.Close() // which may have died before
		}
		w.server.HTTP = nil
		layers, findErr := gc.FindLayers(t.Context(), []string{key(fmt.Sprint(i))})
		if findErr != nil {
			t.Fatal(findErr)
		}
		if err == nil && len(layers) == 0 {
			t.Errorf("%s: the layer is not found", moment)
		}
		w.cleared(gc, moment, before+len(layers))
		for name, vm := range w.machines() {
			if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
				t.Errorf("%s: %s is on", moment, name)
			}
		}
	}
	if _, err := gc.PruneLayers(t.Context(), platforms.LayerPruning{MadeBefore: time.Now().Add(time.Hour)}); err != nil || len(w.machines()) != 0 {
		t.Errorf("%d machines are left: %v", len(w.machines()), err)
	}
}

// TestMachineFaults has requests for a machine fail: nothing is left, and the error says
// what can be done.
func TestMachineFaults(t *testing.T) {
	w, template := newFleet(t)
	for name, c := range map[string]struct {
		method string
		fault  types.BaseMethodFault
		want   string
	}{
		"clone refused":     {"CloneVM_Task", &types.NoPermission{PrivilegeId: "VirtualMachine.Provisioning.DeployTemplate"}, "the user lacks the privilege VirtualMachine.Provisioning.DeployTemplate"},
		"datastore full":    {"CloneVM_Task", &types.NoDiskSpace{Datastore: "LocalDS_0"}, "the datastore is full: free some space"},
		"no resources":      {"PowerOnVM_Task", &types.InsufficientMemoryResourcesFault{}, "has no resources left for another machine: lower max_machines"},
		"maintenance":       {"PowerOnVM_Task", &types.InvalidState{}, "a host in maintenance"},
		"host without this": {"CloneVM_Task", &types.NotSupported{}, "an ESXi host without vCenter has no clones"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{T: t, server: w.server, host: w.host}
			d := w.open(launching())
			w.server.Answer = func(method string, _ any) types.BaseMethodFault {
				if method == c.method {
					return c.fault
				}
				return nil
			}
			defer func() { w.server.Answer = nil }()
			_, err := d.Boot(t.Context(), []platforms.Layer{{Ref: template}}, &platformtest.Log{})
			w.fails(err, c.want)
			if len(w.machines()) != 0 || len(w.host.Left()) != 0 {
				t.Errorf("%d machines are left, in the ledger %v", len(w.machines()), w.host.Left())
			}
		})
	}
	t.Run("snapshot limit", func(t *testing.T) {
		w := &world{T: t, server: w.server, host: w.host}
		m := w.boot(w.open(launching(func(o *Options) { o.Checkpoint = "every-step" })), template)
		w.server.Answer = func(method string, _ any) types.BaseMethodFault {
			if method == "CreateSnapshot_Task" {
				return &types.TooManySnapshotLevels{}
			}
			return nil
		}
		defer func() { w.server.Answer = nil }()
		if ref := w.save(m, "1", false); ref != "" {
			t.Errorf("made %s", ref)
		}
		_, err := m.Commit(t.Context(), platforms.State{Key: key("1"), Name: "step", Needed: true})
		w.fails(err, "as many snapshots as vSphere allows")
		w.sh(m, "test -s /root/.ssh/authorized_keys") // which was brought back
	})
	t.Run("sessions end", func(t *testing.T) {
		w := &world{T: t, server: w.server, host: w.host}
		m := w.boot(w.open(launching(func(o *Options) { o.Checkpoint = "every-step" })), template)
		for _, word := range []string{"1", "2"} {
			w.server.EndSessions()
			if ref := w.save(m, word, false); ref == "" {
				t.Error("no layer was made")
			}
		}
		w.server.EndSessions()
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("turned off by somebody", func(t *testing.T) {
		w := &world{T: t, server: w.server, host: w.host}
		d := w.open(launching())
		m := w.boot(d, template)
		if err := d.powerOff(t.Context(), m.ref, m.name); err != nil {
			t.Fatal(err)
		}
		w.fails(m.Run(t.Context(), platforms.Cmd{Args: []string{"true"}}), m.name+": the machine is off")
	})
}

// TestSilentGuest waits for VMware Tools no longer than the option says, and removes the
// machine.
func TestSilentGuest(t *testing.T) {
	w, template := newFleet(t)
	w.server.Machines = nil
	d := w.open(launching(func(o *Options) { o.BootTimeout = "50ms" }))
	_, err := d.Boot(t.Context(), []platforms.Layer{{Ref: template}}, &platformtest.Log{})
	w.fails(err, "VMware Tools do not run in it: the origin needs open-vm-tools")
	if len(w.machines()) != 0 || len(w.host.Left()) != 0 {
		t.Errorf("%d machines are left, in the ledger %v", len(w.machines()), w.host.Left())
	}
}

// TestEndlessTask gives up a task that does not end, and a build that is cancelled does
// not wait for one.
func TestEndlessTask(t *testing.T) {
	w, template := newFleet(t)
	d := w.open(launching(func(o *Options) { o.TaskTimeout = "50ms" }))
	stop := w.hangTasks()
	defer stop()
	_, err := d.Boot(t.Context(), []platforms.Layer{{Ref: template}}, &platformtest.Log{})
	w.fails(err, "clone DC0_C0_RP1_VM1: timeout: not ready within 50ms")
	d = w.open(launching())
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = d.Boot(ctx, []platforms.Layer{{Ref: template}}, &platformtest.Log{})
	w.fails(err, "canceled")
	stop()
	w.collect(d)
	if n := len(w.machines()); n != 0 {
		t.Errorf("%d machines are left", n)
	}
}

// hangTasks has all tasks that are asked for look as if they ran on.
func (w *world) hangTasks() (stop func()) {
	var hang atomic.Bool
	hang.Store(true)
	h := &hanging{w.server.Map(), &hang}
	w.server.Map().AddHandler(h)
	return func() { hang.Store(false) }
}

// hanging keeps tasks from ending.
type hanging struct {
	registry *simulator.Registry
	on       *atomic.Bool
}

func (h *hanging) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "BakeHanging", Value: "hanging"}
}
func (h *hanging) PutObject(*simulator.Context, mo.Reference)                    {}
func (h *hanging) RemoveObject(*simulator.Context, types.ManagedObjectReference) {}
func (h *hanging) UpdateObject(_ *simulator.Context, o mo.Reference, changes []types.PropertyChange) {
	t, ok := o.(*mo.Task)
	if ok && h.on.Load() && strings.HasPrefix(t.Info.DescriptionId, "VirtualMachine.clone") {
		t.Info.State = types.TaskInfoStateRunning
	}
}
