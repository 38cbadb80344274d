package virtualbox

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/virtualbox/vboxtest"
)

// manageUser calls VBoxManage as the user does.
func manageUser(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		t.Fatalf("%s %q: %v", program, args, err)
	}
	return string(out)
}

// userMachine makes a machine of the user's with one disk, and returns what is on that.
func userMachine(t *testing.T, name string) []byte {
	t.Helper()
	dir := t.TempDir()
	raw, disk := filepath.Join(dir, "raw"), filepath.Join(dir, "disk.vdi")
	data := bytes.Repeat([]byte("the user's "), 300<<10)[:3<<20]
	if err := os.WriteFile(raw, data, 0o600); err != nil {
		t.Fatal(err)
	}
	manageUser(t, "convertfromraw", raw, disk, "--format", "VDI")
	manageUser(t, "createvm", "--name", name, "--ostype", "Debian_64", "--register", "--basefolder", dir)
	manageUser(t, "modifyvm", name, "--memory", "384", "--cpus", "3", "--nic1", "nat", "--nictype1", "virtio")
	manageUser(t, "storagectl", name, "--name", "A B", "--add", "ide", "--controller", "PIIX4")
	manageUser(t, "storagectl", name, "--name", "SATA", "--add", "sata", "--controller", "IntelAhci")
	manageUser(t, "storageattach", name, "--storagectl", "A B", "--port", "0", "--device", "0", "--type", "dvddrive", "--medium", "emptydrive")
	manageUser(t, "storageattach", name, "--storagectl", "SATA", "--port", "0", "--device", "0", "--type", "hdd", "--medium", disk)
	return data
}

func vmOrigin(t *testing.T, o Origin) platforms.Origin {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return platforms.Origin{Kind: "vm", Options: text}
}

// TestRegistered begins on a machine of the user's, as it is and as a snapshot has it:
// nothing of it is changed, and its registry knows no more than before.
func TestRegistered(t *testing.T) {
	need.Tool(t, "qemu-img")
	vboxtest.Install(t)
	t.Setenv("HOME", t.TempDir())
	data := userMachine(t, "web 1")
	manageUser(t, "snapshot", "web 1", "take", "before")
	known := func() string {
		return manageUser(t, "list", "vms") + manageUser(t, "list", "--long", "hdds") + manageUser(t, "showvminfo", "web 1", "--machinereadable")
	}
	before := known()
	h := platformtest.NewHost(t)
	d, err := open(Options{}, h)
	if err != nil {
		t.Fatal(err)
	}
	pins := map[string]bool{}
	for _, opts := range []Origin{{VM: "web 1"}, {VM: "web 1", Snapshot: "before"}} {
		o := vmOrigin(t, opts)
		if o, err = d.Pin(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		pins[o.Pin.ID] = true
		if again, err := d.Pin(t.Context(), o); err != nil || again.Pin != o.Pin {
			t.Errorf("the pin of what has not changed: %v, %v", again.Pin, err)
		}
		layer := t.TempDir()
		if _, err := d.Import(t.Context(), o, layer, platformtest.TestLog{T: t}); err != nil {
			t.Fatal(err)
		}
		raw := filepath.Join(t.TempDir(), "raw")
		if err := d.Disk(t.Context(), []platforms.Layer{{Dir: layer}}, raw, platformtest.TestLog{T: t}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(raw); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%+v: the disk has %d other bytes, %v", opts, len(got), err)
		}
		about, err := os.ReadFile(filepath.Join(layer, "machine.json"))
		if err != nil || !strings.Contains(string(about), `"cpus":3,"memory":"384M"`) || !strings.Contains(string(about), `"disk_bus":"sata","nic":"virtio"`) {
			t.Errorf("the layer's machine is %s, %v", about, err)
		}
	}
	if len(pins) != 2 {
		t.Error("a machine and its snapshot have one pin")
	}
	if after := known(); after != before {
		t.Errorf("the user's registry was\n%s\nand is\n%s", before, after)
	}
	if left := h.Left(); len(left) > 0 {
		t.Errorf("the ledger has %v", left)
	}
	for want, opts := range map[string]Origin{
		"Could not find a registered machine named 'none'": {VM: "none"},
		`has no snapshot "after"`:                          {VM: "web 1", Snapshot: "after"},
	} {
		if _, err := d.Pin(t.Context(), vmOrigin(t, opts)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", opts, err, want)
		}
	}
	if d.PinName(vmOrigin(t, Origin{VM: "web 1", Snapshot: "before"})) != "vm web 1 before" {
		t.Error("the pin has no name of its own")
	}
}

// TestCloneKilled leaves a copy that VirtualBox still knows, and one that it has begun.
func TestCloneKilled(t *testing.T) {
	need.Tool(t, "qemu-img")
	vboxtest.Install(t)
	t.Setenv("HOME", t.TempDir())
	userMachine(t, "web")
	before := manageUser(t, "list", "hdds")
	d, err := open(Options{}, platformtest.NewHost(t))
	if err != nil {
		t.Fatal(err)
	}
	known, begun := filepath.Join(t.TempDir(), "known.vdi"), filepath.Join(t.TempDir(), "begun.vdi")
	uuid := ""
	for line := range strings.Lines(before) {
		if value, ok := strings.CutPrefix(line, "UUID:"); ok {
			uuid = strings.TrimSpace(value)
		}
	}
	manageUser(t, "clonemedium", "disk", uuid, known, "--format", "VDI")
	if err := os.WriteFile(begun, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{known: true, begun: true, begun + "x": false} {
		got, err := d.Collect(t.Context(), platforms.Resource{Kind: kindClone, ID: path})
		if err != nil || got.Removed != want {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left", path)
		}
	}
	if after := manageUser(t, "list", "hdds"); after != before {
		t.Errorf("the registry was\n%s\nand is\n%s", before, after)
	}
}
