package vsphere

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// An image is a template or a virtual machine that artifacts are registered as.
type image struct {
	vm
	place string // the datacenter
	want  string // what it has to be: see Publication.ImageType
}

// Facts implements publish.Image. One that is not a template and has to be, since a build
// was killed while it changed it, is not finished, whatever its marks say.
func (i image) Facts() publish.Facts {
	marks := maps.Clone(i.marks)
	if i.want != imageVM && !i.template {
		delete(marks, publish.Ready)
	}
	return publish.Facts{ID: i.ref.Value, Name: i.name, Place: i.place, State: publish.Available, Created: i.created, Marks: marks}
}

var (
	_ publish.Images[image]   = (*job)(nil)
	_ publish.Retainer[image] = (*job)(nil)
)

// Find implements publish.Images: images are looked for in their folder.
func (j *job) Find(ctx context.Context, place string, q publish.Query) (list []image, err error) {
	if q.ID != "" {
		v, err := j.d.vm(ctx, types.ManagedObjectReference{Type: typeVM, Value: q.ID})
		if errors.Is(err, wait.ErrNotFound) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		return []image{j.image(v)}, nil
	}
	folder, err := j.folder(ctx, false)
	if err != nil || folder.Value == "" {
		return nil, err
	}
	all, err := j.d.vms(ctx, folder)
	for _, v := range all {
		if v.parent == folder && (q.Name == "" || v.name == q.Name) && (q.Artifact == "" || v.marks[publish.Artifact] == q.Artifact) && (q.Project == "" || v.marks[publish.Project] == q.Project) {
			list = append(list, j.image(v))
		}
	}
	return list, err
}

func (j *job) image(v vm) image { return image{v, j.site.datacenter.name, j.o.ImageType} }

// folder returns the folder of the image. One that is missing is made, or has no value.
func (j *job) folder(ctx context.Context, make bool) (types.ManagedObjectReference, error) {
	c, err := j.d.vim(ctx)
	if err != nil {
		return types.ManagedObjectReference{}, err
	}
	inv, err := loadInventory(ctx, c)
	if err != nil {
		return types.ManagedObjectReference{}, err
	}
	folder, err := j.d.folder(ctx, inv, j.site.datacenter.ref, j.o.ImageFolder, make)
	if err != nil {
		return folder, fmt.Errorf("image_folder: %w", err)
	}
	return folder, nil
}

// Copy implements publish.Images. There is one place.
func (j *job) Copy(context.Context, image, string) (string, *resource.Record, error) {
	return "", nil, errors.New("an image is in one datacenter")
}

// settings are what a later definition may leave out.
func (j *job) settings() []string {
	if j.o.Description == "" {
		return nil
	}
	return []string{settingNotes}
}

const settingNotes = "description"

// settingsMost is how long a mark may be.
const settingsMost = 1024

// Change implements publish.Images.
func (j *job) Change(ctx context.Context, i image) error {
	life := j.life()
	spec := types.VirtualMachineConfigSpec{ExtraConfig: extraConfig(life.SettingsMarks(settingsMost, i.marks)), Annotation: j.o.Description}
	if slices.Contains(life.Dropped(i.marks), settingNotes) {
		spec.Annotation = " " // one that is empty changes nothing
	}
	if err := j.d.reconfigure(ctx, i.vm, spec); err != nil {
		return err
	}
	c, err := j.d.vim(ctx)
	if err != nil {
		return err
	}
	o := object.NewVirtualMachine(c, i.ref)
	switch {
	case j.o.ImageType != imageVM && !i.template:
		if err := o.MarkAsTemplate(ctx); err != nil {
			return fmt.Errorf("make %s a template: %w", i.name, explain(err))
		}
	case j.o.ImageType == imageVM && len(i.snapshots) == 0:
		_, err := j.d.do(ctx, "make a snapshot of "+i.name, j.out, func(ctx context.Context) (*object.Task, error) {
			return o.CreateSnapshot(ctx, "bake", "for linked clones", false, false)
		})
		return err
	}
	return nil
}

// Mark implements publish.Images.
func (j *job) Mark(ctx context.Context, i image, marks map[string]string) error {
	v, err := j.d.vm(ctx, i.ref)
	if err != nil {
		return err
	}
	return j.d.mark(ctx, v, marks)
}

// Delete implements publish.Images.
func (j *job) Delete(ctx context.Context, i image) error { return j.d.destroy(ctx, i.vm) }

// Retire implements publish.Retainer. An image on whose disks that of another virtual
// machine lies stays.
func (j *job) Retire(ctx context.Context, place string, images []image, why string) error {
	users, err := j.users(ctx, images)
	if err != nil {
		return err
	}
	for _, i := range images {
		if user := users[i.ref]; user != "" {
			j.say("%s: %s is %s and stays: %s is a linked clone of it", place, i.name, why, user)
			continue
		}
		j.say("%s: %s is %s and is removed", place, i.name, why)
		if err := j.Delete(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// users returns, of images, the name of another virtual machine that has a file of theirs.
func (j *job) users(ctx context.Context, images []image) (map[types.ManagedObjectReference]string, error) {
	c, err := j.d.vim(ctx)
	if err != nil {
		return nil, err
	}
	var list []mo.VirtualMachine
	if err := retrieve(ctx, c, j.site.datacenter.ref, []string{typeVM}, []string{"name", "layoutEx.file"}, &list); err != nil {
		return nil, fmt.Errorf("look for the users of images: %w", explain(err))
	}
	owner := map[string]types.ManagedObjectReference{}
	for _, m := range list {
		if !slices.ContainsFunc(images, func(i image) bool { return i.ref == m.Self }) {
			continue
		}
		for _, name := range disks(m) {
			owner[name] = m.Self
		}
	}
	users := map[types.ManagedObjectReference]string{}
	for _, m := range list {
		for _, name := range disks(m) {
			if of, ok := owner[name]; ok && of != m.Self {
				users[of] = unescape(m.Name)
			}
		}
	}
	return users, nil
}

// disks returns the files of a virtual machine's disks.
func disks(m mo.VirtualMachine) (names []string) {
	if m.LayoutEx == nil {
		return nil
	}
	for _, f := range m.LayoutEx.File {
		if strings.HasSuffix(f.Name, ".vmdk") {
			names = append(names, f.Name)
		}
	}
	return names
}
