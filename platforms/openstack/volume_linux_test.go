package openstack

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/snapshots"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"bake.build/bake/internal/testopenstack"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/resource"
)

// TestVolume boots from a volume, whose snapshots are the layers, and exports one of them.
func TestVolume(t *testing.T) {
	w := newFleet(t, func(o *Options) { o.BootVolume, o.VolumeType = "1G", "__DEFAULT__" })
	from := w.origin()
	m := w.boot(from.ID)
	s, err := w.driver.server(t.Context(), testopenstack.Region, m.id)
	if err != nil || len(s.AttachedVolumes) != 1 {
		t.Fatalf("the server is %+v, %v", s, err)
	}
	ref := w.save(m, "0f", true)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	layer := w.get(platforms.Registered{ID: ref, Place: testopenstack.Region})
	if len(layer.snapshots()) != 1 || layer.SizeBytes != 0 || layer.property(remote.Key) != "0f" {
		t.Fatalf("the layer is %+v", layer.Image)
	}
	w.volumeOrigins(from)
	i := w.exportVolume(ref)
	dst := filepath.Join(t.TempDir(), "disk.raw")
	if err := w.driver.Disk(t.Context(), []platforms.Layer{{Ref: i.ID}}, dst, &platformtest.Log{}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dst); err != nil || len(got) != 1<<30 || !strings.HasPrefix(string(got[:100]), testopenstack.Disk) {
		t.Errorf("the disk has %d bytes, %v", len(got), err)
	}
	if err := w.driver.Close(); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{ref, i.ID} {
		if err := w.driver.removeID(t.Context(), testopenstack.Region, id); err != nil {
			t.Error(err)
		}
	}
}

// exportVolume publishes a layer whose data is in Cinder: the image has that data.
func (w *world) exportVolume(ref string) image {
	w.Helper()
	p := publication("volume", Publication{ImageFormat: "qcow2"})
	p.Arch, p.Boot = "", ""
	found, err := w.driver.Publish(w.Context(), p, platforms.ImageSource{Layer: ref}, &platformtest.Log{})
	if err != nil {
		w.Fatal(err)
	}
	i := w.get(found[0])
	if i.ID == ref || i.onVolume() || i.SizeBytes == 0 || i.DiskFormat != "qcow2" || i.property(publish.Ready) != p.Key || i.property(remote.Key) != "" || i.property("os_distro") != "debian" || !strings.HasPrefix(i.Name, "web-") {
		w.Errorf("the image is %+v", i.Image)
	}
	return i
}

// volumeOrigins begins on a volume, and on a snapshot of it, by their names. A server of the
// volume has a copy in the availability zone of the options.
func (w *world) volumeOrigins(from image) {
	w.Helper()
	var cleanup resource.Stack
	ctx := w.Context()
	c, err := w.driver.clients.volumes(ctx, testopenstack.Region)
	if err != nil {
		w.Fatal(err)
	}
	id, err := w.driver.makeVolume(ctx, testopenstack.Region, volumes.CreateOpts{Size: 1, ImageID: from.ID}, &cleanup)
	if err != nil {
		w.Fatal(err)
	}
	snap, err := snapshots.Create(ctx, c, snapshots.CreateOpts{VolumeID: id, Name: "golden snapshot"}).Extract()
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		d := openAt(w.T, w.host, w.cloud.URL)
		if err := d.removeSnapshots(context.Background(), image{region: testopenstack.Region, Image: images.Image{Properties: map[string]any{"block_device_mapping": `[{"source_type": "snapshot", "snapshot_id": "` + snap.ID + `"}]`}}}); err != nil {
			w.Error(err)
		}
		if err := cleanup.Close(context.Background()); err != nil {
			w.Error(err)
		}
	})
	v, err := volumes.Get(ctx, c, id).Extract()
	if err != nil {
		w.Fatal(err)
	}
	d := openAt(w.T, w.host, w.cloud.URL, func(o *Options) {
		o.Flavor, o.Networks, o.BootVolume, o.VolumeZone, o.BootTimeout = "tiny", []string{"build"}, "1G", "nova", "60s"
	})
	for _, o := range []Origin{{Volume: v.Name}, {VolumeSnapshot: "golden snapshot"}} {
		text, err := json.Marshal(o)
		if err != nil {
			w.Fatal(err)
		}
		pinned, err := d.Pin(ctx, platforms.Origin{Kind: o.option(), Options: text})
		if err != nil || !slices.Contains([]string{id, snap.ID}, pinned.Pin.ID) {
			w.Fatalf("pinned %+v, %v", pinned.Pin, err)
		}
		if again, err := d.Pin(ctx, pinned); err != nil || again.Pin.ID != pinned.Pin.ID {
			w.Errorf("pinned again %+v, %v", again.Pin, err)
		}
		made, err := d.Import(ctx, pinned, "", &platformtest.Log{})
		if err != nil || made.Traits != (platforms.Traits{Arch: "amd64", Boot: "bios"}) {
			w.Fatalf("made %+v, %v", made, err)
		}
		out := &platformtest.Log{}
		m, err := d.Boot(ctx, []platforms.Layer{{Ref: made.Ref}}, out)
		if err != nil {
			w.Fatalf("%v\n%s", err, out.String())
		}
		w.sh(m, "test -s /root/.ssh/authorized_keys")
		s, err := d.server(ctx, testopenstack.Region, m.(*machine).id)
		if err != nil || len(s.AttachedVolumes) != 1 || s.AttachedVolumes[0].ID == id {
			w.Errorf("the server is %+v, %v", s, err)
		}
		if err := m.Close(); err != nil {
			w.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		w.Error(err)
	}
	// What cannot be is told by the option.
	for want, o := range map[string]Origin{
		`volume: RegionOne has no "nothing"`: {Volume: "nothing"},
		"volume_snapshot: RegionOne has no":  {VolumeSnapshot: uuid.NewString()},
	} {
		if _, err := d.namedDrive(ctx, testopenstack.Region, o); err == nil || !strings.Contains(err.Error(), want) {
			w.Errorf("%v, want %q", err, want)
		}
	}
}
