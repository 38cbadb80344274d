package vsphere

import (
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testsshd"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/ssh"
)

// The machines of these tests are real SSH servers with a disk of their own, which the
// stand-in for vCenter starts: see testsshd.

// newFleet is newWorld with machines that can be logged in to, and a template of one.
func newFleet(t *testing.T) (w *world, template string) {
	t.Helper()
	need.Root(t)
	need.Tool(t, testsshd.Tools...)
	w = newWorld(t)
	fleet := &testsshd.Fleet{Dir: t.TempDir(), Setup: "mkdir -p dev/shm; mount -t tmpfs tmpfs dev/shm"}
	t.Cleanup(fleet.Close)
	t.Cleanup(func() {
		for _, line := range w.server.Log {
			t.Error(line)
		}
	})
	const name = "DC0_C0_RP1_VM1"
	w.off(w.open(), name, true)
	w.server.Machines = fleet
	return w, w.vm(name).Config.InstanceUuid
}

// launching are options for machines of a fleet.
func launching(change ...func(*Options)) func(*Options) {
	return func(o *Options) {
		o.Login = ssh.Login{BootTimeout: "20s"}
		for _, f := range change {
			f(o)
		}
	}
}

func (w *world) boot(d *driver, ref string) *machine {
	w.Helper()
	return platformtest.Boot[*machine](w, d, ref)
}

func (w *world) sh(m platforms.Machine, script string) string {
	w.Helper()
	return platformtest.Sh(w, m, script)
}

// key makes a layer's key of a word.
func key(word string) string { return strings.Repeat("0", 64-2*len(word)) + hexOf(word) }

func hexOf(word string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, c := range []byte(word) {
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func (w *world) save(m *machine, word string, needed bool) string {
	w.Helper()
	return platformtest.Save(w, m, platforms.State{Key: key(word), Name: "step " + word, Needed: needed})
}

// machines returns the virtual machines that bake has made.
func (w *world) machines() map[string]*simulator.VirtualMachine {
	all := w.server.VMs()
	for name := range all {
		if !strings.HasPrefix(name, "bake-") {
			delete(all, name)
		}
	}
	return all
}

func extra(vm *simulator.VirtualMachine) map[string]string {
	values := map[string]string{}
	for _, o := range vm.Config.ExtraConfig {
		if v, ok := o.GetOptionValue().Value.(string); ok {
			values[o.GetOptionValue().Key] = v
		}
	}
	return values
}

// TestMachine goes the way of a build: a machine of a template, layers of it, another
// machine on one of them.
func TestMachine(t *testing.T) {
	w, template := newFleet(t)
	d := w.open(launching(func(o *Options) {
		o.Checkpoint, o.CPUs, o.Memory, o.Network, o.UserData = "every-step", 3, "512M", "DC0_DVPG0", "#cloud-config\nlocale: C\n"
	}))
	m := w.boot(d, template)
	vm := w.vm(m.name)
	if h := vm.Config.Hardware; h.NumCPU != 3 || h.MemoryMB != 512 {
		t.Errorf("the machine has %d CPUs and %d MiB", h.NumCPU, h.MemoryMB)
	}
	if x := extra(vm); x["bake.build"] != "build" || x["bake.project"] != "acme/images" || x["bake.token"] == "" || x["bake.base"] != "" {
		t.Errorf("the machine's marks: %v", x)
	}
	if m.address == "172.17.0.1" || !strings.HasPrefix(m.address, "127.") {
		t.Errorf("the address is %s", m.address)
	}
	if left := w.host.Left(); len(left) != 1 || left[0].Kind != kindMachine || left[0].Account == "" {
		t.Errorf("in the ledger: %+v", left)
	}
	w.sh(m, `grep -q 'locale: C' /var/lib/cloud/instance/user-data.txt
mkdir -p /etc/systemd; echo 0123456789abcdef0123456789abcdef >/etc/machine-id; echo one >/etc/layer; test -s /root/.ssh/authorized_keys`)
	one := w.save(m, "1", false)
	w.sh(m, `grep -q 0123456789abcdef /etc/machine-id; echo two >/etc/layer`)
	two := w.save(m, "2", false)
	w.sh(m, `echo lost >/etc/layer`)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if left := w.host.Left(); len(left) != 0 {
		t.Errorf("in the ledger: %+v", left)
	}
	if vm := w.vm(m.name); vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff {
		t.Error("the machine with layers is still on")
	}

	found, err := d.FindLayers(t.Context(), []string{key("1"), key("2"), key("3")})
	if err != nil || len(found) != 2 || found[key("1")].Ref != one || found[key("2")].Ref != two || found[key("2")].Boot != "bios" {
		t.Errorf("found %+v: %v", found, err)
	}
	for ref, want := range map[string]string{one: "one", two: "two"} {
		n := w.boot(d, ref)
		if got := strings.TrimSpace(w.sh(n, `cat /etc/layer; test ! -s /etc/machine-id; test ! -e /run/bake-hidden`)); got != want {
			t.Errorf("the layer holds %q, want %q", got, want)
		}
		if x := extra(w.vm(n.name)); x["bake.base"] != ref {
			t.Errorf("the clone of %s has the marks %v", ref, x)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := len(w.machines()); n != 1 {
		t.Errorf("there are %d machines", n)
	}

	// What is linked to a layer keeps it.
	n := w.boot(d, one)
	w.save(n, "3", true)
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	all := platforms.LayerPruning{MadeBefore: time.Now().Add(time.Hour)}
	dry := all
	dry.DryRun = true
	if list, err := d.PruneLayers(t.Context(), dry); err != nil || len(list) != 3 || list[0].Name != "step 1" {
		t.Errorf("would prune %+v: %v", list, err)
	}
	if list, err := d.PruneLayers(t.Context(), platforms.LayerPruning{UsedBefore: time.Now().Add(-time.Hour)}); err != nil || len(list) != 0 {
		t.Errorf("pruned %+v: %v", list, err)
	}
	if err := (layers{d}).Delete(t.Context(), layerOf(&vm0, snapshot{})); err != nil {
		t.Error(err)
	}
	if list, err := d.PruneLayers(t.Context(), all); err != nil || len(list) != 3 || len(w.machines()) != 0 {
		t.Errorf("pruned %+v, %d machines are left: %v", list, len(w.machines()), err)
	}
}

var vm0 vm // nothing that is there

// TestUnneeded drops states that are not worth a layer, and their machine.
func TestUnneeded(t *testing.T) {
	w, template := newFleet(t)
	d := w.open(launching())
	m := w.boot(d, template)
	if ref := w.save(m, "1", false); ref != "" {
		t.Errorf("made %s", ref)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if n := len(w.machines()); n != 0 || len(w.host.Left()) != 0 {
		t.Errorf("%d machines are left, and %v in the ledger", n, w.host.Left())
	}
}

// TestConformance runs the suite of all drivers.
func TestConformance(t *testing.T) {
	need.Slow(t)
	w, template := newFleet(t)
	w.server.Disk = w.stream(w.disk())
	platformtest.Run(t, platformtest.Harness{
		Driver: w.open(onDatastore()),
		First:  platforms.Layer{Key: "00", Ref: template},
		Dir:    func(t *testing.T) string { return t.TempDir() },
		Shared: true, NoRestart: true, NoBytes: true,
	})
}

// TestCustomization gives a machine a specification of vCenter's.
func TestCustomization(t *testing.T) {
	w, template := newFleet(t)
	d := w.open(launching(func(o *Options) { o.Customization = "vcsim-linux" }))
	m := w.boot(d, template)
	if vm := w.vm(m.name); vm.Guest.CustomizationInfo == nil || vm.Guest.CustomizationInfo.CustomizationStatus != string(types.GuestInfoCustomizationStatusTOOLSDEPLOYPKG_SUCCEEDED) {
		t.Errorf("the machine's customization: %+v", vm.Guest.CustomizationInfo)
	}
	if d.Fingerprint() == w.open().Fingerprint() {
		t.Error("a specification is not part of keys")
	}
	_, err := w.open(launching(func(o *Options) { o.Customization = "vcsim-linus" })).Boot(t.Context(), []platforms.Layer{{Ref: template}}, &platformtest.Log{})
	w.fails(err, `customization: there is no "vcsim-linus" (did you mean "vcsim-linux"?)`)
}
