package openstack

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/members"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/remote"
)

// keysAtOnce is how many layers a request asks for: Glance compares a property with one
// value.
const keysAtOnce = 1 << 20

// layers are the layers of a project, by region.
type layers struct{ d *driver }

var _ remote.Layers = layers{}

// layerOf is an image as a layer.
func layerOf(i image) remote.Layer {
	size := i.SizeBytes
	for _, s := range i.snapshots() {
		size += int64(s.Size) << 30
	}
	l := remote.Layer{
		Layer: platforms.Layer{Key: i.property(remote.Key), Ref: i.ID, Traits: i.traits()},
		Place: i.region, Name: i.property(markStep), Size: size, Made: i.CreatedAt,
	}
	l.Used, _ = time.Parse(remote.Time, i.property(remote.Used)) // none is as long ago as it was made
	return l
}

// fewKeys is up to how many layers are asked for one by one.
const fewKeys = 3

// Find implements remote.Layers. Few are asked for by their keys; of many, those of all
// keys are looked through.
func (l layers) Find(ctx context.Context, region string, keys []string) (list []remote.Layer, err error) {
	var found []image
	if len(keys) > fewKeys {
		found, err = l.d.own(ctx, region, images.ListOpts{}, map[string]string{markLayer: "1"})
		if err != nil {
			return nil, err
		}
	} else {
		for _, key := range keys {
			some, err := l.d.own(ctx, region, images.ListOpts{}, map[string]string{remote.Key: key})
			if err != nil {
				return nil, err
			}
			found = append(found, some...)
		}
	}
	for _, i := range found {
		if slices.Contains(keys, i.property(remote.Key)) && i.Facts().State != publish.Failed {
			list = append(list, layerOf(i))
		}
	}
	return list, nil
}

// markLayer is on all layers.
const markLayer = "bake:layer"

// Unused implements remote.Layers. A layer that is an artifact, too, is that.
func (l layers) Unused(ctx context.Context, region, project string) (list []remote.Layer, err error) {
	want := map[string]string{markLayer: "1"}
	if project != "" {
		want[publish.Project] = project
	}
	found, err := l.d.own(ctx, region, images.ListOpts{}, want)
	for _, i := range found {
		if i.property(remote.Key) != "" && i.property(publish.Identity) == "" {
			list = append(list, layerOf(i))
		}
	}
	return list, err
}

// Delete implements remote.Layers. One that a server runs from stays: it may be moved.
func (l layers) Delete(ctx context.Context, layer remote.Layer) error {
	i, err := l.d.image(ctx, layer.Place, layer.Ref)
	if err != nil || i == nil {
		return err
	}
	user, err := l.d.user(ctx, *i)
	if err != nil {
		return err
	}
	if user != "" {
		return fmt.Errorf("%s: %w by %s", layer.Ref, remote.ErrInUse, user)
	}
	return l.d.remove(ctx, *i)
}

// Touch implements remote.Layers.
func (l layers) Touch(ctx context.Context, layer remote.Layer, at time.Time) error {
	i, err := l.d.image(ctx, layer.Place, layer.Ref)
	if err != nil || i == nil {
		return err
	}
	var c change
	c.set(remote.Used, at.UTC().Format(remote.Time))
	return l.d.change(ctx, *i, c)
}

// unseenMost is how often an image that was made just now may be not found.
const unseenMost = 5

// layer returns the image that is a layer, and waits for one that is being made.
func (d *driver) layer(ctx context.Context, ref string, out platforms.Logger) (*image, error) {
	region, err := d.clients.home(ctx)
	if err != nil {
		return nil, err
	}
	if isDrive(ref) {
		return d.driveLayer(ctx, region, ref)
	}
	if out != nil {
		out.Progress("wait for the image "+ref, 0, 0)
	}
	var i *image
	err = d.Cache.Await(ctx, ref, unseenMost, func(ctx context.Context, unseen int) (err error) {
		i, err = d.waitLayer(ctx, region, ref, unseen)
		return err
	}, func(ctx context.Context) error { return d.removeID(ctx, region, ref) })
	if err != nil {
		return nil, err
	}
	if i.property(remote.Key) == "" {
		return i, nil
	}
	return i, d.Cache.Use(ctx, layerOf(*i))
}

// waitLayer waits until an image is there with all of its data.
func (d *driver) waitLayer(ctx context.Context, region, id string, unseen int) (*image, error) {
	return d.watch(ctx, region, id, unseen, func(ctx context.Context, i image) (bool, error) {
		switch f := i.Facts(); f.State {
		case publish.Failed:
			return false, fmt.Errorf("%w: %s", remote.ErrFailed, f.Why)
		case publish.Pending:
			return false, nil
		}
		return d.snapshotsReady(ctx, i)
	})
}

// removeID removes an image by its id. One that is not there is no error.
func (d *driver) removeID(ctx context.Context, region, id string) error {
	i, err := d.image(ctx, region, id)
	if err != nil || i == nil {
		return err
	}
	return d.remove(ctx, *i)
}

// sharedWith returns who else than the project may use an image, or "".
func (d *driver) sharedWith(ctx context.Context, i image) (string, error) {
	switch i.Visibility {
	case images.ImageVisibilityPublic, images.ImageVisibilityCommunity:
		return fmt.Sprintf("whoever has found it, it is %s (retire_shared = True removes it all the same)", i.Visibility), nil
	case images.ImageVisibilityShared:
	default:
		return "", nil
	}
	list, err := listed(ctx, d.clients.images, i.region, i.region+": find out who may use the image "+i.ID,
		func(c *gophercloud.ServiceClient) pagination.Pager { return members.List(c, i.ID) }, members.ExtractMembers)
	if err != nil || len(list) == 0 {
		return "", err
	}
	return fmt.Sprintf("%d projects perhaps, such as %s, it is shared with them (retire_shared = True removes it all the same)", len(list), list[0].MemberID), nil
}

// A volumeSnapshot is one that an image of a server with a volume names.
type volumeSnapshot struct {
	ID   string `json:"snapshot_id"`
	Size int    `json:"volume_size"`
	Root bool   `json:"-"`
}

// snapshots returns the snapshots of volumes that are the image's data.
func (i image) snapshots() (list []volumeSnapshot) {
	text := i.property("block_device_mapping")
	if text == "" {
		return nil
	}
	var all []struct {
		volumeSnapshot
		SourceType string `json:"source_type"`
		BootIndex  *int   `json:"boot_index"`
	}
	if json.Unmarshal([]byte(text), &all) != nil {
		return nil // what others have written there says nothing
	}
	for _, m := range all {
		if m.SourceType == "snapshot" && m.ID != "" {
			m.Root = m.BootIndex != nil && *m.BootIndex == 0
			list = append(list, m.volumeSnapshot)
		}
	}
	return list
}
