package openstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/snapshots"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// volumeTimeout is how long Cinder may take with a volume or a snapshot.
const volumeTimeout = time.Hour

// snapshotsReady reports whether Cinder has made the snapshots that are an image's data.
func (d *driver) snapshotsReady(ctx context.Context, i image) (bool, error) {
	list := i.snapshots()
	if len(list) == 0 {
		return true, nil
	}
	c, err := d.clients.volumes(ctx, i.region)
	if err != nil {
		return false, err
	}
	for _, s := range list {
		switch got, err := snapshots.Get(ctx, c, s.ID).Extract(); {
		case missing(err):
			return false, fmt.Errorf("%w: its volume snapshot %s is not there", remote.ErrFailed, s.ID)
		case err != nil:
			return false, fmt.Errorf("%s: look for the volume snapshot %s: %w", i.region, s.ID, explain(err))
		case got.Status == "creating":
			return false, nil
		case got.Status != "available":
			return false, fmt.Errorf("%w: its volume snapshot %s is in the state %s", remote.ErrFailed, s.ID, got.Status)
		}
	}
	return true, nil
}

// removeSnapshots deletes the volume snapshots that are the data of an image that has gone.
func (d *driver) removeSnapshots(ctx context.Context, i image) error {
	list := i.snapshots()
	if len(list) == 0 {
		return nil
	}
	c, err := d.clients.volumes(ctx, i.region)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range list {
		err := d.loop(fmt.Sprintf("%s: the end of the volume snapshot %s", i.region, s.ID), volumeTimeout, 0).Until(ctx, func(ctx context.Context) (bool, error) {
			err := snapshots.Delete(ctx, c, s.ID).ExtractErr()
			if err != nil && !missing(err) && !badState(err) {
				return false, explain(err)
			}
			return missing(err), nil
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// badState reports whether Cinder says that something is busy, such as one that it deletes
// already.
func badState(err error) bool {
	return gophercloud.ResponseCodeIs(err, http.StatusBadRequest) || conflict(err)
}

// volumeOf makes a volume of what the image keeps in Cinder, which a Stack removes.
func (d *driver) volumeOf(ctx context.Context, i image, cleanup *resource.Stack) (string, error) {
	o := volumes.CreateOpts{SourceVolID: i.clone, Size: i.cloneGiB}
	if root := i.root(); root != nil {
		o = volumes.CreateOpts{SnapshotID: root.ID, Size: root.Size}
	} else if i.clone == "" {
		return "", fmt.Errorf("%s: the image %s has no data", i.region, i.ID)
	}
	return d.makeVolume(ctx, i.region, o, cleanup)
}

// makeVolume makes a volume, which a Stack removes, and waits for it.
func (d *driver) makeVolume(ctx context.Context, region string, o volumes.CreateOpts, cleanup *resource.Stack) (string, error) {
	c, err := d.clients.volumes(ctx, region)
	if err != nil {
		return "", err
	}
	o.Name = "bake-" + newToken()
	o.Metadata = d.marks(o.Name)
	id, record, err := resource.Make(ctx, d.Manager, kindVolume, region, o.Name, func(ctx context.Context) (string, error) {
		v, err := volumes.Create(ctx, c, o, nil).Extract()
		if err != nil {
			return "", fmt.Errorf("%s: make a volume of %s: %w", region, cmp.Or(o.SnapshotID, o.SourceVolID, o.ImageID), judge(err))
		}
		return v.ID, nil
	})
	if err != nil {
		return "", err
	}
	cleanup.Push(record, func(ctx context.Context) error { return d.deleteVolume(ctx, region, id) })
	return id, d.waitVolume(ctx, region, id)
}

// waitVolume waits until a volume is available.
func (d *driver) waitVolume(ctx context.Context, region, id string) error {
	c, err := d.clients.volumes(ctx, region)
	if err != nil {
		return err
	}
	return d.loop(fmt.Sprintf("%s: volume %s", region, id), volumeTimeout, unseenMost).Until(ctx, func(ctx context.Context) (bool, error) {
		v, err := volumes.Get(ctx, c, id).Extract()
		switch {
		case missing(err):
			return false, wait.ErrNotFound
		case err != nil:
			return false, explain(err)
		case v.Status == "error":
			return false, errors.New("it could not be made: its status is error")
		}
		return v.Status == "available", nil
	})
}

// deleteVolume removes a volume, and waits until it is gone: the snapshot that it was made
// of cannot go before.
func (d *driver) deleteVolume(ctx context.Context, region, id string) error {
	c, err := d.clients.volumes(ctx, region)
	if err != nil {
		return err
	}
	status := ""
	err = d.loop(fmt.Sprintf("%s: the end of the volume %s", region, id), volumeTimeout, 0).Until(ctx, func(ctx context.Context) (bool, error) {
		v, err := volumes.Get(ctx, c, id).Extract()
		switch {
		case missing(err):
			return true, nil
		case err != nil:
			return false, explain(err)
		}
		status = v.Status
		switch {
		case v.Status == "error_deleting":
			return false, errors.New("it cannot be deleted: its status is error_deleting")
		case v.Status == "deleting":
			return false, nil
		}
		if err := volumes.Delete(ctx, c, id, nil).ExtractErr(); err != nil && !missing(err) && !badState(err) {
			return false, explain(err)
		}
		return false, nil
	})
	if err != nil && status != "" {
		return fmt.Errorf("%w: its status is %s", err, status)
	}
	return err
}

// ofVolume has Cinder upload the data of an image, which is in a volume or in snapshots, as
// an image of Glance, whose record it returns.
func (d *driver) ofVolume(ctx context.Context, i image, format string, cleanup *resource.Stack) (_ *image, record *resource.Record, err error) {
	id, err := d.volumeOf(ctx, i, cleanup)
	if err != nil {
		return nil, nil, err
	}
	c, err := d.clients.volumes(ctx, i.region)
	if err != nil {
		return nil, nil, err
	}
	name := "bake-" + newToken()
	made, record, err := resource.Make(ctx, d.Manager, kindLayer, i.region, name, func(ctx context.Context) (string, error) {
		v, err := volumes.UploadImage(ctx, c, id, volumes.UploadImageOpts{ImageName: name, DiskFormat: format, ContainerFormat: "bare"}).Extract()
		if err != nil {
			return "", fmt.Errorf("%s: upload the volume %s: %w", i.region, id, judge(err))
		}
		return v.ImageID, nil
	})
	if err != nil {
		return nil, nil, err
	}
	got, err := d.waitLayer(ctx, i.region, made, unseenMost)
	if err == nil {
		err = d.waitVolume(ctx, i.region, id) // which is busy until then
	}
	if err == nil && (got.SizeBytes == 0 || got.Status != images.ImageStatusActive) {
		err = fmt.Errorf("%s: the image %s of the volume has no data", i.region, made)
	}
	if err != nil {
		return nil, nil, errors.Join(err, record.Remove(context.WithoutCancel(ctx), func(ctx context.Context) error { return d.removeID(ctx, i.region, made) }))
	}
	return got, record, nil
}

// downloadVolume is download for an image whose data is in volume snapshots.
func (d *driver) downloadVolume(ctx context.Context, i image, dst string, out platforms.Logger) (err error) {
	var cleanup resource.Stack
	defer func() { err = errors.Join(err, cleanup.Close(context.WithoutCancel(ctx))) }()
	out.Progress("have Cinder upload the volume", 0, 0)
	data, record, err := d.ofVolume(ctx, i, "raw", &cleanup)
	if err != nil {
		return err
	}
	cleanup.Push(record, func(ctx context.Context) error { return d.removeID(ctx, i.region, data.ID) })
	return d.download(ctx, *data, dst, out)
}

func (d *driver) listVolumes(ctx context.Context, region string, o volumes.ListOpts) ([]volumes.Volume, error) {
	return listed(ctx, d.clients.volumes, region, region+": look for volumes",
		func(c *gophercloud.ServiceClient) pagination.Pager { return volumes.List(c, o) }, volumes.ExtractVolumes)
}

// collectVolume removes a volume by its name.
func (d *driver) collectVolume(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	list, err := optional(d.listVolumes(ctx, r.Place, volumes.ListOpts{Name: r.ID}))
	for _, v := range list {
		if err == nil && v.Name == r.ID {
			got.Removed, err = true, d.deleteVolume(ctx, r.Place, v.ID)
		}
	}
	return got, err
}

// taggedVolumes returns the volumes that builds have left.
func (d *driver) taggedVolumes(ctx context.Context, region string) (found []resource.Found, err error) {
	list, err := optional(d.listVolumes(ctx, region, volumes.ListOpts{}))
	for _, v := range list {
		if build := v.Metadata[publish.Build]; build != "" {
			found = append(found, resource.Found{Kind: kindVolume, ID: v.Name, Build: build, Made: v.CreatedAt})
		}
	}
	return found, err
}
