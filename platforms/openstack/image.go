package openstack

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/members"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// An image is one of Glance.
type image struct {
	images.Image
	region string

	clone    string // the volume that servers get a copy of, where that is not "": see drive
	cloneGiB int
}

// property returns a property of the image, or "".
func (i image) property(name string) string {
	text, _ := i.Properties[name].(string) // one that is no text is none of bake's
	return text
}

// hash returns the algorithm and the hash of the image's data; both are "" where it has
// none, such as where the data is in volumes.
func (i image) hash() (algorithm, value string) {
	return i.property("os_hash_algo"), i.property("os_hash_value")
}

// marks are the properties of bake's own.
func (i image) marks() map[string]string {
	marks := map[string]string{}
	for name, value := range i.Properties {
		if text, ok := value.(string); ok && text != "" && strings.HasPrefix(name, "bake:") {
			marks[name] = text
		}
	}
	return marks
}

// Facts implements publish.Image.
func (i image) Facts() publish.Facts {
	f := publish.Facts{ID: i.ID, Name: i.Name, Place: i.region, Created: i.CreatedAt, Marks: i.marks()}
	switch i.Status {
	case images.ImageStatusActive:
		f.State = publish.Available
	case images.ImageStatusKilled, images.ImageStatusDeleted, images.ImageStatusPendingDelete, "deactivated":
		f.State, f.Why = publish.Failed, fmt.Sprintf("its status is %s", i.Status)
	}
	return f
}

// find returns the images of the cloud that o chooses and that have the properties, hidden
// ones included, the oldest first.
func (d *driver) find(ctx context.Context, region string, o images.ListOpts, properties map[string]string) (list []image, err error) {
	// A list has the one kind or the other.
	var found [2][]images.Image
	g, ctx := errgroup.WithContext(ctx)
	for n, hidden := range []bool{false, true} {
		o := o
		o.Hidden = hidden
		g.Go(func() (err error) {
			found[n], err = listed(ctx, d.clients.images, region, region+": look for images",
				func(c *gophercloud.ServiceClient) pagination.Pager { return images.List(c, query{o, properties}) }, images.ExtractImages)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, i := range slices.Concat(found[0], found[1]) {
		list = append(list, image{Image: i, region: region})
	}
	slices.SortFunc(list, older)
	return list, nil
}

// older orders images by their age.
func older(a, b image) int { return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID)) }

// own is find for images of the project.
func (d *driver) own(ctx context.Context, region string, o images.ListOpts, properties map[string]string) (list []image, err error) {
	if o.Owner, err = d.clients.project(ctx); err != nil {
		return nil, err
	}
	return d.find(ctx, region, o, properties)
}

// A query is a list's with properties, which Glance takes by their names.
type query struct {
	images.ListOpts
	properties map[string]string
}

// pageSize is how many images a page of a list has.
const pageSize = 200

// ToImageListQuery implements images.ListOptsBuilder.
func (q query) ToImageListQuery() (string, error) {
	q.Limit = pageSize
	if q.Name != "" && strings.ContainsAny(q.Name, ":,\"") {
		q.Name = `in:"` + strings.ReplaceAll(q.Name, `"`, `\"`) + `"` // a name with an operator's sign
	}
	text, err := q.ListOpts.ToImageListQuery()
	if err != nil {
		return "", err
	}
	values, err := url.ParseQuery(strings.TrimPrefix(text, "?"))
	for name, value := range q.properties {
		values.Set(name, value)
	}
	return "?" + values.Encode(), err
}

// image returns an image by its id, or nil.
func (d *driver) image(ctx context.Context, region, id string) (*image, error) {
	c, err := d.clients.images(ctx, region)
	if err != nil {
		return nil, err
	}
	i, err := images.Get(ctx, c, id).Extract()
	if missing(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s: look for the image %s: %w", region, id, explain(err))
	}
	return &image{Image: *i, region: region}, nil
}

// watch looks at an image until look says that it is as it should be, and returns what was
// seen last. One that is not there was not found.
func (d *driver) watch(ctx context.Context, region, id string, unseen int, look func(ctx context.Context, i image) (bool, error)) (i *image, err error) {
	err = d.loop(fmt.Sprintf("%s: image %s", region, id), imageTimeout, unseen).Until(ctx, func(ctx context.Context) (_ bool, err error) {
		if i, err = d.image(ctx, region, id); err == nil && i == nil {
			err = wait.ErrNotFound
		}
		if err != nil {
			return false, err
		}
		return look(ctx, *i)
	})
	return i, err
}

// A change is a JSON patch of an image: see RFC 6902.
type change []images.Patch

// patch is one line of it.
type patch map[string]any

// ToImagePatchMap implements images.Patch.
func (p patch) ToImagePatchMap() map[string]any { return p }

// set gives a field or a property a value. "add" also replaces.
func (c *change) set(name string, value any) {
	*c = append(*c, patch{"op": "add", "path": pointer(name), "value": value})
}

// drop takes a property off an image that has it.
func (c *change) drop(i image, name string) {
	if _, has := i.Properties[name]; has {
		*c = append(*c, patch{"op": "remove", "path": pointer(name)})
	}
}

// mark sets marks; those that are "" are taken off.
func (c *change) mark(i image, marks map[string]string) {
	for name, value := range marks {
		if value == "" {
			c.drop(i, name)
		} else {
			c.set(name, value)
		}
	}
}

func pointer(name string) string {
	return "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// failedImport names the stores that an import has failed in, or is "".
func (i image) failedImport() string { return i.property("os_glance_failed_import") }

// importing reports whether an import still works on the image, which may be active by
// then: Glance saves the image as the import knows it, and so undoes what others change.
// It drops the task's lock last.
func (i image) importing() bool {
	return i.property("os_glance_import_task") != "" || i.property("os_glance_importing_to_stores") != ""
}

// change sends a change.
func (d *driver) change(ctx context.Context, i image, what change) error {
	if len(what) == 0 {
		return nil
	}
	c, err := d.clients.images(ctx, i.region)
	if err != nil {
		return err
	}
	if _, err := images.Update(ctx, c, i.ID, images.UpdateOpts(what)).Extract(); err != nil {
		return fmt.Errorf("%s: change the image %s: %w", i.region, i.ID, explain(err))
	}
	return nil
}

// remove deletes an image with the snapshots of volumes that it names.
func (d *driver) remove(ctx context.Context, i image) error {
	c, err := d.clients.images(ctx, i.region)
	if err != nil {
		return err
	}
	if i.Protected {
		return fmt.Errorf("%s: delete the image %s: it is protected", i.region, i.ID)
	}
	if err := images.Delete(ctx, c, i.ID).ExtractErr(); unless(err) != nil {
		if conflict(err) {
			err = fmt.Errorf("%w: %w", remote.ErrInUse, explain(err))
		}
		return fmt.Errorf("%s: delete the image %s: %w", i.region, i.ID, explain(err))
	}
	return d.removeSnapshots(ctx, i)
}

var (
	_ publish.Images[image]   = (*job)(nil)
	_ publish.Retainer[image] = (*job)(nil)
)

// Find implements publish.Images.
func (j *job) Find(ctx context.Context, region string, q publish.Query) (list []image, err error) {
	if q.ID != "" {
		i, err := j.d.image(ctx, region, q.ID)
		if err != nil || i == nil {
			return nil, err
		}
		return []image{*i}, nil
	}
	properties := map[string]string{}
	if q.Artifact != "" {
		properties[publish.Artifact] = q.Artifact
	}
	if q.Project != "" {
		properties[publish.Project] = q.Project
	}
	return j.d.own(ctx, region, images.ListOpts{Name: q.Name}, properties)
}

// Copy implements publish.Images: what is in another region gets there by way of this
// host.
func (j *job) Copy(ctx context.Context, from image, region string) (string, *resource.Record, error) {
	return j.make(ctx, region, from)
}

// Mark implements publish.Images.
func (j *job) Mark(ctx context.Context, i image, marks map[string]string) error {
	var c change
	c.mark(i, marks)
	return j.d.change(ctx, i, c)
}

// Delete implements publish.Images.
func (j *job) Delete(ctx context.Context, i image) error { return j.d.remove(ctx, i) }

// Change implements publish.Images.
func (j *job) Change(ctx context.Context, i image) error {
	now, err := j.d.image(ctx, i.region, i.ID)
	if err != nil {
		return err
	} else if now == nil {
		return fmt.Errorf("%s: the image %s is not there any more", i.region, i.ID)
	}
	i = *now
	life := j.life()
	marks := i.marks()
	var c change
	dropped := life.Dropped(marks)
	labels := slices.Clone(i.Tags)
	var out []string
	for _, s := range dropped {
		kind, name, _ := strings.Cut(s, " ")
		switch kind {
		case "property":
			c.drop(i, name)
		case "label":
			labels = slices.DeleteFunc(labels, func(l string) bool { return l == name })
		case "member":
			out = append(out, name)
		}
	}
	for name, value := range j.properties {
		if i.property(name) != value {
			c.set(name, value)
		}
	}
	for _, label := range j.o.Labels {
		if !slices.Contains(labels, label) {
			labels = append(labels, label)
		}
	}
	if !slices.Equal(labels, i.Tags) {
		c.set("tags", labels)
	}
	c.mark(i, life.SettingsMarks(nameMost, marks))
	if err := j.fieldsOf(i, slices.Contains(dropped, settingVisibility), &c); err != nil {
		return err
	}
	if err := j.d.change(ctx, i, c); err != nil {
		return err
	}
	return j.share(ctx, i, out)
}

// fieldsOf changes the fields of an image that differ from what the definition says.
func (j *job) fieldsOf(i image, dropped bool, c *change) error {
	disk, err := wholeGiB("min_disk", j.o.MinDisk)
	if err != nil {
		return err
	}
	if disk = cmp.Or(disk, j.gib); disk != 0 && disk != i.MinDiskGigabytes {
		c.set("min_disk", disk)
	}
	ram, err := j.o.minRAM()
	if err != nil {
		return err
	}
	if ram != i.MinRAMMegabytes {
		c.set("min_ram", ram)
	}
	want := images.ImageVisibility(j.o.Visibility)
	if len(j.o.Members) > 0 || want == "" && dropped {
		want = images.ImageVisibilityShared
	}
	if want != "" && want != i.Visibility {
		c.set("visibility", want)
	}
	if i.Protected != j.o.Protected {
		c.set("protected", j.o.Protected)
	}
	if i.Hidden != j.o.Hidden {
		c.set("os_hidden", j.o.Hidden)
	}
	return nil
}

// share adds the members of an image, and removes those that the definition does not name
// any more.
func (j *job) share(ctx context.Context, i image, out []string) error {
	if len(j.o.Members) == 0 && len(out) == 0 {
		return nil
	}
	c, err := j.d.clients.images(ctx, i.region)
	if err != nil {
		return err
	}
	for _, id := range j.o.Members {
		if _, err := members.Create(ctx, c, i.ID, id).Extract(); err != nil && !conflict(err) {
			return fmt.Errorf("%s: share the image %s with %s: %w", i.region, i.ID, id, explain(err))
		}
	}
	if j.o.Accept {
		if err := accept(ctx, c, i, j.o.Members); err != nil {
			return err
		}
	}
	for _, id := range out {
		if err := unless(members.Delete(ctx, c, i.ID, id).ExtractErr()); err != nil {
			return fmt.Errorf("%s: share the image %s no more with %s: %w", i.region, i.ID, id, err)
		}
	}
	return nil
}

// accept accepts an image in the name of its members.
func accept(ctx context.Context, c *gophercloud.ServiceClient, i image, projects []string) error {
	for _, id := range projects {
		_, err := members.Update(ctx, c, i.ID, id, members.UpdateOpts{Status: "accepted"}).Extract()
		if denied(err) {
			return &platforms.OptionError{Err: fmt.Errorf("accept_members: %s lets administrators do that, or %s itself: %w", i.region, id, explain(err))}
		} else if err != nil {
			return fmt.Errorf("%s: accept the image %s for %s: %w", i.region, i.ID, id, explain(err))
		}
	}
	return nil
}
