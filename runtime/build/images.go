package build

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// registered is what is registered of one publication.
type registered struct {
	key    plan.Key // of the publication in this run
	images []platforms.Registered
}

// register notes what is registered of the publication n.
func (b *Build) register(n *plan.Node, key plan.Key, images []platforms.Registered) []solve.File {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.registered == nil {
		b.registered = map[*plan.Node]registered{}
	}
	b.registered[n] = registered{key, images}
	return files(images)
}

// standing returns the images of the publication n that are known to be up to date, or nil.
func (b *Build) standing(n *plan.Node, key plan.Key) []platforms.Registered {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.registered[n]; r.key == key {
		return r.images
	}
	return nil
}

// writeImages writes the manifests of the publications of a run, for scripts that
// want to know what was registered. Whether an image is up to date is asked of its platform,
// and never of these.
func (b *Build) writeImages(ctx context.Context, targets []solve.Target) error {
	var errs []error
	for _, t := range targets {
		op, ok := t.Node.Op.(*export.Publish)
		images := b.standing(t.Node, t.Key)
		if !ok || len(images) == 0 || t.State != solve.Done && t.State != solve.Cached {
			continue
		}
		now := time.Now().UTC().Truncate(time.Second)
		m := &export.Manifest{
			Name: op.Name, Key: t.Key.String(), About: b.about(t.Node), Started: now, Finished: now,
			Boot: op.Boot, KernelArgs: op.KernelArgs,
		}
		for n := t.Node; len(n.Deps) > 0; n = n.Deps[0] {
			m.Layers = append([]string{n.Deps[0].Key.String()}, m.Layers...)
		}
		for _, i := range images {
			image := export.Image{Platform: t.Node.Platform.Called(), ID: i.ID, Place: i.Place, Name: i.Name, Tags: i.Tags}
			if !i.Created.IsZero() {
				image.Created = &i.Created
			}
			m.Images = append(m.Images, image)
		}
		dir := filepath.Join(b.out(), b.imageDir(t.Node, op.Name))
		if err := export.WriteImages(ctx, dir, m); err != nil {
			errs = append(errs, fmt.Errorf("write what was registered for %s: %w", op.Name, err))
		}
	}
	return errors.Join(errs...)
}

// imageDir returns the name of the directory of a publication: its artifact's name,
// or the target's where another artifact has that.
func (b *Build) imageDir(n *plan.Node, name string) string {
	for _, t := range b.Definition.Artifacts {
		if t.Node == n {
			return t.Name
		}
	}
	return name
}

// files lists what was registered as users call it.
func files(images []platforms.Registered) []solve.File {
	var list []solve.File
	for _, i := range images {
		name := i.ID
		if i.Place != "" {
			name += " in " + i.Place
		}
		list = append(list, solve.File{Path: name + " (" + i.Name + ")"})
	}
	return list
}
