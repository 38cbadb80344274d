package openstack

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/snapshots"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"bake.build/bake/platforms"
)

// References of layers that are a volume or a snapshot of Cinder, and no image. Each is
// followed by an id.
const (
	refVolume   = "volume "
	refSnapshot = "volume_snapshot "
)

// ofCinder reports whether the origin is a volume or a snapshot of one.
func (o Origin) ofCinder() bool { return o.Volume != "" || o.VolumeSnapshot != "" }

// pinVolume is Pin for a volume or a snapshot: by its id.
func (d *driver) pinVolume(ctx context.Context, region string, or Origin, o platforms.Origin) (platforms.Origin, error) {
	if o.Pin != nil {
		if i, err := d.drive(ctx, region, or.ref(o.Pin.ID)); err != nil || i != nil {
			return o, err
		}
	}
	i, err := d.namedDrive(ctx, region, or)
	if err != nil {
		return o, err
	}
	_, id, _ := strings.Cut(i.ID, " ")
	o.Pin = &platforms.Pin{ID: id, Date: i.CreatedAt.UTC().Format(time.RFC3339), Detail: map[string]string{"name": i.Name, "region": region}}
	return o, nil
}

// ref is the reference of the layer that a volume or a snapshot is.
func (o Origin) ref(id string) string {
	if o.Volume != "" {
		return refVolume + id
	}
	return refSnapshot + id
}

// namedDrive returns the newest volume or snapshot of a name, or that of an id.
func (d *driver) namedDrive(ctx context.Context, region string, o Origin) (i *image, err error) {
	name := cmp.Or(o.Volume, o.VolumeSnapshot)
	id := name
	if !isID.MatchString(name) {
		id, err = d.newestDrive(ctx, region, o)
	}
	if missingService(err) {
		return nil, &platforms.OptionError{Err: fmt.Errorf("%s: %s has no block storage service", o.option(), region)}
	} else if err != nil {
		return nil, err
	}
	if id != "" {
		if i, err = d.drive(ctx, region, o.ref(id)); err != nil {
			return nil, err
		}
	}
	if i == nil {
		return nil, &platforms.OptionError{Err: fmt.Errorf("%s: %s has no %q that the project may use", o.option(), region, name)}
	}
	return i, nil
}

// newestDrive returns the id of the newest volume or snapshot of a name, or "".
func (d *driver) newestDrive(ctx context.Context, region string, o Origin) (id string, err error) {
	if o.Volume != "" {
		list, err := d.listVolumes(ctx, region, volumes.ListOpts{Name: o.Volume})
		if err != nil || len(list) == 0 {
			return "", err
		}
		return slices.MaxFunc(list, func(a, b volumes.Volume) int { return a.CreatedAt.Compare(b.CreatedAt) }).ID, nil
	}
	list, err := listed(ctx, d.clients.volumes, region, region+": look for volume snapshots", func(c *gophercloud.ServiceClient) pagination.Pager {
		return snapshots.List(c, snapshots.ListOpts{Name: o.VolumeSnapshot, Status: "available"})
	}, snapshots.ExtractSnapshots)
	if err != nil || len(list) == 0 {
		return "", err
	}
	return slices.MaxFunc(list, func(a, b snapshots.Snapshot) int { return a.CreatedAt.Compare(b.CreatedAt) }).ID, nil
}

// drive returns what servers begin on where a reference names a volume or a snapshot: an
// image that is not in Glance and has no data of its own, as Nova makes one of a server with
// a volume. It is nil where there is no such volume or snapshot.
func (d *driver) drive(ctx context.Context, region, ref string) (*image, error) {
	c, err := d.clients.volumes(ctx, region)
	if err != nil {
		return nil, err
	}
	kind, id, _ := strings.Cut(ref, " ")
	var s *snapshots.Snapshot
	volume := id
	if kind+" " == refSnapshot {
		if s, err = snapshots.Get(ctx, c, id).Extract(); missing(err) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: look for the volume snapshot %s: %w", region, id, explain(err))
		}
		volume = s.VolumeID
	}
	v, err := volumes.Get(ctx, c, volume).Extract()
	if missing(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s: look for the volume %s: %w", region, volume, explain(err))
	}
	return driveOf(region, ref, v, s)
}

// driveOf describes a volume, or a snapshot of it if that is not nil. Cinder keeps with a
// volume the properties of the image that it was made of.
func driveOf(region, ref string, v *volumes.Volume, s *snapshots.Snapshot) (*image, error) {
	option, name, status := "volume", cmp.Or(v.Name, v.ID), v.Status
	if s != nil {
		option, name, status = "volume_snapshot", cmp.Or(s.Name, s.ID), s.Status
	}
	switch {
	case v.Bootable != "true":
		return nil, &platforms.OptionError{Err: fmt.Errorf("%s: servers cannot start from %s: the volume is not bootable", option, name)}
	case status != "available" && (s != nil || status != "in-use"):
		return nil, &platforms.OptionError{Err: fmt.Errorf("%s: the status of %s is %s", option, name, status)}
	}
	i := &image{Image: images.Image{ID: ref, Name: name, Status: images.ImageStatusActive, CreatedAt: v.CreatedAt, Properties: map[string]any{}}, region: region}
	for name, value := range v.VolumeImageMetadata {
		i.Properties[name] = value
	}
	delete(i.Properties, "block_device_mapping")
	i.MinRAMMegabytes, _ = strconv.Atoi(v.VolumeImageMetadata["min_ram"]) // 0 where it is not said
	if s == nil {
		i.clone, i.cloneGiB = v.ID, v.Size
		return i, nil
	}
	i.CreatedAt = s.CreatedAt
	mapping, err := json.Marshal([]map[string]any{{"source_type": "snapshot", "snapshot_id": s.ID, "volume_size": s.Size, "boot_index": 0}})
	i.Properties["block_device_mapping"] = string(mapping)
	return i, err
}

// driveLayer is layer for a volume or a snapshot.
func (d *driver) driveLayer(ctx context.Context, region, ref string) (*image, error) {
	i, err := d.drive(ctx, region, ref)
	if err == nil && i == nil {
		err = fmt.Errorf("%s: there is no %s any more, or the project may not use it: bake update finds another one", region, ref)
	}
	return i, err
}

// isDrive reports whether the reference of a layer is that of a volume or a snapshot.
func isDrive(ref string) bool {
	return strings.HasPrefix(ref, refVolume) || strings.HasPrefix(ref, refSnapshot)
}

// bootVolume makes the volume of a server by Cinder, where Nova cannot do it: a copy of a
// volume, or a volume in an availability zone of its own. It goes with the server, or else
// when the driver ends. The id is "" where Nova makes the volume.
func (d *driver) bootVolume(ctx context.Context, i image, p *place) (string, error) {
	gib, err := d.volumeGiB(i)
	if err != nil || i.clone == "" && d.options.VolumeZone == "" {
		return "", err
	}
	o := volumes.CreateOpts{Size: gib, SourceVolID: i.clone, VolumeType: d.options.VolumeType, AvailabilityZone: d.options.VolumeZone}
	if root := i.root(); root != nil {
		o.SnapshotID = root.ID
	} else if i.clone == "" {
		o.ImageID = i.ID
	}
	id, err := d.makeVolume(ctx, i.region, o, &p.cleanup)
	if err != nil {
		return "", fmt.Errorf("make the volume of a server: %w", err)
	}
	return id, nil
}

// volumeGiB returns the size of the volume that servers of the image have, or 0.
func (d *driver) volumeGiB(i image) (int, error) {
	gib, err := wholeGiB("boot_volume", d.options.BootVolume)
	if root := i.root(); root != nil {
		return max(gib, root.Size), err
	}
	return max(gib, i.cloneGiB), err
}

// root returns the snapshot that servers of the image start from, or nil.
func (i image) root() *volumeSnapshot {
	list := i.snapshots()
	n := slices.IndexFunc(list, func(s volumeSnapshot) bool { return s.Root })
	if n < 0 {
		return nil
	}
	return &list[n]
}

// onVolume reports whether servers of the image have a volume, whatever the options say.
func (i image) onVolume() bool { return i.clone != "" || i.root() != nil }
