package vsphere

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testsshd"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// TestESXi has a host without vCenter take an image and start an artifact, and say of the
// rest that it cannot.
func TestESXi(t *testing.T) {
	need.Root(t)
	need.Tool(t, testsshd.Tools...)
	w := newWorld(t, func(m *simulator.Model) { *m = *simulator.ESX() })
	fleet := &testsshd.Fleet{Dir: t.TempDir()}
	t.Cleanup(fleet.Close)
	w.server.Machines = fleet
	d := w.open(launching(func(o *Options) { o.Cluster = "" }))
	o := Publication{ImageType: "vm", ImageName: "web"}
	p := publication(o, "aa11")
	if err := d.CheckPublish(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	found, err := d.Publish(t.Context(), p, platforms.ImageSource{Disk: w.disk()}, &platformtest.Log{})
	if err != nil || found[0].Name != "web" {
		t.Fatalf("found %+v: %v", found, err)
	}
	if found, why, err := d.Published(t.Context(), p); err != nil || why != "" || len(found) != 1 {
		t.Errorf("published %+v: %q, %v", found, why, err)
	}
	m, err := d.Launch(t.Context(), platforms.Image{Path: w.ova(nil), Format: "ova"}, &platformtest.Log{})
	if err != nil {
		t.Fatal(err)
	}
	w.sh(m, "test -s /root/.ssh/authorized_keys")
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	w.fails(d.CheckPublish(t.Context(), publication(Publication{}, "aa11")), `image_type: an ESXi host without vCenter has no templates: want image_type = "vm"`)
	w.fails(d.CheckPublish(t.Context(), publication(Publication{Library: "images"}, "aa11")), "an ESXi host has no content libraries")
	for kind, or := range map[string]Origin{"vm": {VM: "web"}, "library_item": {LibraryItem: "images/web"}, "datastore_iso": {StoredISO: "[LocalDS_0] a.iso"}} {
		_, err := d.Pin(t.Context(), origin(kind, "", or))
		w.fails(err, "server: an ESXi host without vCenter has no clones")
	}
	w.cleared(d, "all", len(w.server.VMs()))
}

// TestFurtherDisk reads the second disk of a machine that has two.
func TestFurtherDisk(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	const name = "DC0_C0_RP1_VM0"
	list := object.VirtualDeviceList(w.vm(name).Config.Hardware.Device)
	controller, err := list.FindDiskController("scsi")
	if err != nil {
		t.Fatal(err)
	}
	second := list.CreateDisk(controller, w.vm(name).Datastore[0], "")
	second.CapacityInKB = 8 << 10
	if err := d.change(t.Context(), w.vm(name).Self, name, object.VirtualDeviceList{second}, types.VirtualDeviceConfigSpecOperationAdd); err != nil {
		t.Fatal(err)
	}
	chain := []platforms.Layer{{Ref: w.snapshotOf(d, name)}}
	if n, err := d.FurtherDisks(t.Context(), chain); n != 1 || err != nil {
		t.Fatalf("%d further disks: %v", n, err)
	}
	disk := w.disk()
	w.server.Disk = w.stream(disk)
	dst := filepath.Join(t.TempDir(), "disk.raw")
	if err := d.FurtherDisk(t.Context(), chain, 1, dst, &platformtest.Log{}); err != nil {
		t.Fatal(err)
	}
	sameFile(t, disk, dst)
	w.fails(d.FurtherDisk(t.Context(), chain, 2, dst+".2", &platformtest.Log{}), "it does not have the disk")
}

// sameFile wants two files to hold the same.
func sameFile(t *testing.T, a, b string) {
	t.Helper()
	one, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(b)
	if err != nil || !bytes.Equal(one, other) {
		t.Errorf("%s is not %s: %v", b, a, err)
	}
}
