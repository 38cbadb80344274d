package openstack

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	diskimage "bake.build/bake/platforms/image"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// maxRegions bounds how many regions are worked on at once.
const maxRegions = 8

// A job is one publication.
type job struct {
	d          *driver
	p          platforms.Publication
	o          Publication
	regions    []string // the platform's own first
	identity   string   // hex; names what cannot be changed of the image once it is made
	name       string
	properties map[string]string
	disk       string // that is uploaded, or ""
	gib        int    // the disk's size; 0 where nobody knows
	content    func() (content, error)
	out        platforms.Logger
}

func (d *driver) job(ctx context.Context, p platforms.Publication, out platforms.Logger) (*job, error) {
	j := &job{d: d, p: p, out: out}
	if err := p.Decode(&j.o); err != nil {
		return nil, err
	}
	if p.Arch == "" && j.o.ImageFormat != "" && d.options.BootVolume == "" {
		return nil, &platforms.OptionError{Err: errors.New("image_format: an image of a layer of openstack has the format that the cloud makes, but for boot_volume")}
	}
	var err error
	if j.properties, err = j.o.properties(p.Boot, p.Arch); err != nil {
		return nil, err
	}
	if j.identity, err = j.o.identity(p, d.host.Ledger().Project()); err != nil {
		return nil, err
	}
	j.name = cmp.Or(j.o.ImageName, publish.Name(p.Name, j.identity))
	s, err := d.clients.login(ctx)
	if err != nil {
		return nil, err
	}
	j.regions = []string{s.region}
	for _, r := range j.o.Regions {
		if !slices.Contains(s.regions, r) {
			return nil, &platforms.OptionError{Err: fmt.Errorf("regions: there is no %q%s", r, spell.Hint(r, "there are", s.regions))}
		}
		if !slices.Contains(j.regions, r) {
			j.regions = append(j.regions, r)
		}
	}
	return j, nil
}

// life is that of the job's image.
func (j *job) life() *publish.Life[image] {
	return &publish.Life[image]{
		Images: j, Retainer: j, Places: j.regions, AtOnce: maxRegions,
		Name: j.name, Artifact: j.p.Name, Identity: j.identity, Key: j.p.Key, Keep: j.o.Keep, Ledger: j.d.host.Ledger(), Say: j.say,
		Settings: j.o.settings(j.properties),
		Record: func(ctx context.Context, i image) (*resource.Record, error) {
			return j.d.Begin(ctx, kindImage, i.region, i.ID)
		},
		Loop: func(what string) wait.Loop { return j.d.loop(what, imageTimeout, 0) },
	}
}

func (j *job) say(format string, args ...any) {
	if j.out != nil {
		_, _ = fmt.Fprintf(j.out, format+"\n", args...) // the log keeps its own error
	}
}

// CheckPublish implements platforms.Publisher.
func (d *driver) CheckPublish(ctx context.Context, p platforms.Publication) error {
	j, err := d.job(ctx, p, nil)
	if err != nil {
		return err
	}
	if err := j.o.CheckProject(d.host.Ledger().Project()); err != nil {
		return err
	}
	if _, err := j.life().Existing(ctx); err != nil {
		return err
	}
	for _, region := range j.regions {
		if err := j.accepted(ctx, region); err != nil {
			return err
		}
	}
	return nil
}

// accepted returns an error if the schema of a region's images does not have the format or
// the visibility that the definition asks for, or its quota is used up.
func (j *job) accepted(ctx context.Context, region string) error {
	c, err := j.d.clients.images(ctx, region)
	if err != nil {
		return err
	}
	type enum struct{ Enum []string }
	var schema struct {
		Properties struct {
			Format     enum `json:"disk_format"`
			Visibility enum
		}
	}
	resp, err := c.Get(ctx, c.ServiceURL("schemas", "image"), &schema, nil)
	if _, _, err = gophercloud.ParseResponse(resp, err); err != nil {
		return fmt.Errorf("%s: ask which images it takes: %w", region, explain(err))
	}
	lacks := func(e *enum, value string) bool {
		e.Enum = slices.DeleteFunc(e.Enum, func(s string) bool { return s == "" }) // null
		return len(e.Enum) > 0 && !slices.Contains(e.Enum, value)
	}
	if e := &schema.Properties.Format; j.p.Arch != "" && lacks(e, j.o.format()) {
		return &platforms.OptionError{Err: fmt.Errorf("image_format: %s does not take %s images: it takes %s", region, j.o.format(), strings.Join(e.Enum, ", "))}
	}
	if e := &schema.Properties.Visibility; j.o.Visibility != "" && lacks(e, j.o.Visibility) {
		return &platforms.OptionError{Err: fmt.Errorf("visibility: %s has no %s images: it has %s", region, j.o.Visibility, strings.Join(e.Enum, ", "))}
	}
	return fits(ctx, c, region, 0, false)
}

// Published implements platforms.Publisher: two requests a region.
func (d *driver) Published(ctx context.Context, p platforms.Publication) ([]platforms.Registered, string, error) {
	j, err := d.job(ctx, p, nil)
	if err != nil {
		return nil, "", err
	}
	return j.life().Published(ctx)
}

// TakesFormat implements platforms.FormatTaker.
func (d *driver) TakesFormat(options json.RawMessage) (string, error) {
	var o Publication
	if len(options) > 0 {
		if err := json.Unmarshal(options, &o); err != nil {
			return "", fmt.Errorf("openstack: options: %w", err)
		}
	}
	return o.takes(), nil
}

// takes has the job upload a disk, which is read when the first region needs it.
func (j *job) takes(ctx context.Context, disk string) error {
	j.disk = disk
	j.content = sync.OnceValues(func() (content, error) { return j.ofDisk(ctx) })
	info, err := os.Stat(disk)
	if err != nil {
		return err
	}
	size := info.Size()
	if j.o.takes() != formatRaw {
		info, err := diskimage.Probe(disk)
		if err != nil {
			return err
		}
		size = info.VirtualSize
	}
	j.gib = int((size + 1<<30 - 1) >> 30)
	return nil
}

// Publish implements platforms.Publisher: a disk is uploaded to all regions at once, and no
// server runs; the image that is a layer becomes the artifact's.
func (d *driver) Publish(ctx context.Context, p platforms.Publication, from platforms.ImageSource, out platforms.Logger) ([]platforms.Registered, error) {
	j, err := d.job(ctx, p, out)
	if err != nil {
		return nil, err
	}
	life := j.life()
	var images map[string]image
	var found []platforms.Registered
	if from.Layer != "" {
		images, found, err = life.Publish(ctx, func(ctx context.Context) (*publish.Held[image], error) { return j.ofLayer(ctx, from.Layer) })
	} else if err = j.takes(ctx, from.Disk); err == nil {
		images, found, err = life.Receive(ctx, nil)
	}
	if err != nil {
		return nil, err
	}
	return found, life.Retain(ctx, images)
}

// ofLayer makes the image of a layer: that is the layer itself, unless another artifact is
// that.
func (j *job) ofLayer(ctx context.Context, ref string) (*publish.Held[image], error) {
	region := j.regions[0]
	layer, err := j.d.layer(ctx, ref, j.out)
	if err != nil {
		return nil, err
	}
	if layer.onVolume() {
		id, record, err := j.uploadVolume(ctx, *layer)
		return j.life().Created(ctx, region, id, record, err)
	}
	if layer.property(publish.Identity) != "" || layer.property(remote.Key) == "" {
		id, record, err := j.make(ctx, region, *layer)
		return j.life().Created(ctx, region, id, record, err)
	}
	record, err := j.d.Begin(ctx, kindImage, region, layer.ID)
	if err != nil {
		return nil, err
	}
	var c change
	for _, name := range serversOwn {
		c.drop(*layer, name)
	}
	c.set("name", j.name)
	c.mark(*layer, j.life().Marks())
	if err := j.d.change(ctx, *layer, c); err != nil {
		return nil, errors.Join(err, record.Forget())
	}
	return j.life().Created(ctx, region, layer.ID, record, nil)
}

// uploadVolume makes the image of a layer whose data is in Cinder: an image that names
// snapshots is of no use in another project or region.
func (j *job) uploadVolume(ctx context.Context, layer image) (_ string, record *resource.Record, err error) {
	var cleanup resource.Stack
	defer func() { err = errors.Join(err, cleanup.Close(context.WithoutCancel(ctx))) }()
	j.say("%s: Cinder uploads the volume", layer.region)
	data, begun, err := j.d.ofVolume(ctx, layer, j.o.format(), &cleanup)
	if err != nil {
		return "", nil, err
	}
	if record, err = j.d.Begin(ctx, kindImage, layer.region, data.ID); err != nil {
		return "", begun, err
	}
	record = record.With(begun)
	marks := map[string]string{}
	for mark := range data.marks() { // of the image that the volume was made of
		marks[mark] = ""
	}
	maps.Copy(marks, j.life().Marks())
	var c change
	for _, name := range serversOwn {
		c.drop(*data, name)
	}
	c.mark(*data, marks)
	if err := j.d.change(ctx, *data, c); err != nil {
		return "", record, errors.Join(err, record.Remove(context.WithoutCancel(ctx), func(ctx context.Context) error { return j.d.remove(ctx, *data) }))
	}
	return j.christen(ctx, *data, record)
}

// serversOwn are properties that Nova notes on an image of a server, and that say nothing
// of the image.
var serversOwn = []string{"instance_uuid", "user_id", "owner_id", "owner_user_name", "owner_project_name", "boot_roles", "image_state", "image_location", "clean_attempts"}

// Retire implements publish.Retainer. An image that a server was started from stays, since
// the server may be rebuilt or moved; so does one whose users cannot be seen.
func (j *job) Retire(ctx context.Context, region string, old []image, why string) error {
	for _, i := range old {
		use, err := j.d.user(ctx, i)
		if err != nil {
			return err
		}
		if use == "" && !j.o.RetireShared {
			if use, err = j.d.sharedWith(ctx, i); err != nil {
				return err
			}
		}
		switch {
		case use != "":
			j.say("%s: %s (%s) is %s, and in use by %s", region, i.Name, i.ID, why, use)
			continue
		case i.Protected:
			j.say("%s: %s (%s) is %s, and protected", region, i.Name, i.ID, why)
			continue
		}
		if err := j.d.remove(ctx, i); errors.Is(err, remote.ErrInUse) {
			j.say("%s: %s (%s) is %s, and stays: %v", region, i.Name, i.ID, why, err)
			continue
		} else if err != nil {
			return err
		}
		j.say("%s: removed %s (%s), %s", region, i.Name, i.ID, why)
	}
	return nil
}

// user returns a server of the project that was started from an image, or "".
func (d *driver) user(ctx context.Context, i image) (string, error) {
	list, err := d.listServers(ctx, i.region, "look for servers of the image "+i.ID, servers.ListOpts{Image: i.ID})
	if err != nil || len(list) == 0 {
		return "", err
	}
	return fmt.Sprintf("the server %s (%s)", list[0].Name, list[0].ID), nil
}
