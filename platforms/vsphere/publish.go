package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// A job is one publication.
type job struct {
	d        *driver
	p        platforms.Publication
	o        Publication
	site     site
	identity string // names what cannot be changed of the image
	name     string // of the image
	out      platforms.Logger
}

func (d *driver) job(ctx context.Context, p platforms.Publication, out platforms.Logger) (*job, error) {
	j := &job{d: d, p: p, out: out}
	if err := p.Decode(&j.o); err != nil {
		return nil, err
	}
	var err error
	if j.identity, err = j.o.identity(p, d.host.Ledger().Project()); err != nil {
		return nil, err
	}
	j.name = cmp.Or(j.o.ImageName, publish.Name(p.Name, j.identity))
	if len(j.name) > nameMost {
		return nil, &platforms.OptionError{Err: fmt.Errorf("image_name: %q has %d characters, and vSphere takes %d: give a shorter one", j.name, len(j.name), nameMost)}
	}
	j.site, err = d.site(ctx)
	return j, err
}

func (j *job) say(format string, args ...any) {
	_, _ = fmt.Fprintf(j.out, format+"\n", args...) // the log keeps its own error
}

// life is that of the job's image.
func (j *job) life() *publish.Life[image] {
	return &publish.Life[image]{
		Images: j, Retainer: j, Places: []string{j.site.datacenter.name},
		Name: j.name, Artifact: j.p.Name, Identity: j.identity, Key: j.p.Key, Keep: j.o.Keep, Settings: j.settings(), Ledger: j.d.host.Ledger(), Say: j.say,
		Record: func(ctx context.Context, i image) (*resource.Record, error) {
			return j.d.Begin(ctx, kindImage, "", i.name)
		},
		Loop: func(what string) wait.Loop {
			return wait.Loop{What: what, Timeout: imageTimeout, Backoff: wait.Backoff{Next: j.d.pause, Most: 8 * j.d.pause}}
		},
	}
}

// imageTimeout is how long an image that is made may take to be seen.
const imageTimeout = 10 * time.Minute

// marks are those of an image that is being made of another virtual machine, which has
// marks of its own.
func (j *job) marks(from map[string]string) map[string]string {
	marks := map[string]string{}
	for mark := range from {
		marks[mark] = ""
	}
	maps.Copy(marks, j.life().Marks())
	marks[markType] = cmp.Or(j.o.ImageType, "template")
	return marks
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
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	if !c.IsVC() && j.o.ImageType != imageVM && j.o.Library == "" {
		return &platforms.OptionError{Err: errors.New(`image_type: an ESXi host without vCenter has no templates: want image_type = "vm"`)}
	}
	if p.Arch == "" { // a layer of the driver's own
		if _, _, err := j.o.kept(); err != nil {
			return err
		}
	} else if j.o.Library == "" || j.o.itemType() == libraryVM { // whose disk goes to a machine
		if _, err := j.d.target(ctx); err != nil {
			return err
		}
	}
	if _, err := d.place(ctx); err != nil {
		return err
	}
	if j.o.Library != "" {
		return j.inLibrary(ctx, func(i *itemJob) error { _, _, err := i.find(ctx); return err })
	}
	_, err = j.life().Existing(ctx)
	return err
}

// Published implements platforms.Publisher.
func (d *driver) Published(ctx context.Context, p platforms.Publication) (found []platforms.Registered, why string, err error) {
	j, err := d.job(ctx, p, nil)
	if err != nil {
		return nil, "", err
	}
	if j.o.Library != "" {
		err = j.inLibrary(ctx, func(i *itemJob) error { found, why, err = i.published(ctx); return err })
		return found, why, err
	}
	return j.life().Published(ctx)
}

// Publish implements platforms.Publisher: a disk is uploaded, and no machine runs; the
// machine of a layer is cloned.
func (d *driver) Publish(ctx context.Context, p platforms.Publication, from platforms.ImageSource, out platforms.Logger) (found []platforms.Registered, err error) {
	j, err := d.job(ctx, p, out)
	if err != nil {
		return nil, err
	}
	if j.o.Library != "" {
		err = j.inLibrary(ctx, func(i *itemJob) error { found, err = i.publish(ctx, from); return err })
		return found, err
	}
	return j.publish(ctx, func(ctx context.Context) (*publish.Held[image], error) {
		if from.Layer != "" {
			return j.ofLayer(ctx, from.Layer)
		}
		return j.ofDisk(ctx, from.Disk)
	})
}

func (j *job) publish(ctx context.Context, create func(context.Context) (*publish.Held[image], error)) ([]platforms.Registered, error) {
	life := j.life()
	images, found, err := life.Publish(ctx, create)
	if err != nil {
		return nil, err
	}
	return found, life.Retain(ctx, images)
}

// ofLayer makes the image from a layer: a whole clone, which lies on no disk of a cache.
func (j *job) ofLayer(ctx context.Context, ref string) (*publish.Held[image], error) {
	b, err := j.d.base(ctx, ref)
	if err != nil {
		return nil, err
	}
	p, err := j.d.place(ctx)
	if err != nil {
		return nil, err
	}
	folder, err := j.folder(ctx, true)
	if err != nil {
		return nil, err
	}
	c, err := j.d.vim(ctx)
	if err != nil {
		return nil, err
	}
	spec, err := j.wholeClone(b, p, j.marks(b.marks))
	if err != nil {
		return nil, err
	}
	spec.Template = j.o.ImageType != imageVM
	record, err := j.d.Begin(ctx, kindImage, "", j.name)
	if err != nil {
		return nil, err
	}
	result, err := j.d.do(ctx, "clone "+b.name+" to "+j.name, j.out, func(ctx context.Context) (*object.Task, error) {
		return object.NewVirtualMachine(c, b.ref).Clone(ctx, object.NewFolder(c, folder), j.name, *spec)
	})
	return j.created(ctx, result, record, err)
}

// wholeClone is the request that clones a layer whole, without what was there for the
// build.
func (j *job) wholeClone(b *base, p *place, marks map[string]string) (*types.VirtualMachineCloneSpec, error) {
	cpus, memory, err := j.o.kept()
	if err != nil {
		return nil, err
	}
	spec := &types.VirtualMachineCloneSpec{
		Location: types.VirtualMachineRelocateSpec{
			Pool: &p.pool, Host: p.host, Datastore: p.datastore,
			DiskMoveType: string(types.VirtualMachineRelocateDiskMoveOptionsMoveAllDiskBackingsAndDisallowSharing),
		},
		Config: &types.VirtualMachineConfigSpec{
			NumCPUs: cpus, MemoryMB: memory, Annotation: cmp.Or(j.o.Description, " "), // and none of the origin's
			ExtraConfig: append(extraConfig(marks), noGuestinfo()...),
		},
	}
	if b.snapshot != nil {
		spec.Snapshot = &b.snapshot.ref
	}
	return spec, nil
}

// created hands an image over to its life.
func (j *job) created(ctx context.Context, result types.AnyType, record *resource.Record, err error) (*publish.Held[image], error) {
	if is[*types.DuplicateName](err) {
		err = fmt.Errorf("%w: %w", publish.ErrTaken, err)
	}
	id := ""
	if ref, ok := result.(types.ManagedObjectReference); ok {
		id = ref.Value
	} else if err == nil {
		err = resource.Unclear(errors.New("the task's result is no virtual machine"))
	}
	if err == nil {
		j.say("%s: made %s (%s)", j.site.datacenter.name, j.name, id)
	}
	return j.life().Created(ctx, j.site.datacenter.name, id, record, err)
}

// noGuestinfo takes away what cloud-init of the build was told.
func noGuestinfo() (list []types.BaseOptionValue) {
	for _, name := range []string{"guestinfo.metadata", "guestinfo.metadata.encoding", "guestinfo.userdata", "guestinfo.userdata.encoding"} {
		list = append(list, &types.OptionValue{Key: name, Value: ""})
	}
	return list
}
