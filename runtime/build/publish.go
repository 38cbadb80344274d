package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk"
	"bake.build/bake/runtime/disk/drivers"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// publisher returns the driver of the platform on which n's image is registered.
func (b *Build) publisher(n *plan.Node) (platforms.Publisher, error) {
	d, err := b.Driver(n.Platform)
	if err != nil {
		return nil, err
	}
	p, ok := d.(platforms.Publisher)
	if !ok {
		return nil, fmt.Errorf("the platform %s cannot register images", n.Platform.Name)
	}
	return p, nil
}

// planned returns the image that n is going to make of its layer.
func (b *Build) planned(ctx context.Context, n *plan.Node, op *export.Publish, key plan.Key) (p platforms.Publication, err error) {
	var traits platforms.Traits
	if !ownLayer(n) { // of which the platform knows the rest
		if traits, err = b.layers().Describe(ctx, n.Deps[0]); err != nil {
			return p, err
		}
	}
	return b.publication(n, op, n.Deps[0].Key, key, traits)
}

// ownLayer reports whether n registers a layer of the very platform that it is
// registered on.
func ownLayer(n *plan.Node) bool { return n.Platform.ID() == n.Deps[0].Platform.ID() }

// publication returns the image that n makes of the layer with the key layer, which is
// what traits say.
func (b *Build) publication(n *plan.Node, op *export.Publish, layer, key plan.Key, traits platforms.Traits) (platforms.Publication, error) {
	content, err := op.Content(layer)
	if err != nil {
		return platforms.Publication{}, err
	}
	p := platforms.Publication{Name: op.Name, Content: content.String(), Key: key.String(), Options: op.Options}
	if ownLayer(n) {
		return p, nil // the platform knows the rest
	}
	p.Arch = cmp.Or(traits.Arch, runtime.GOARCH)
	if !b.Spec(n.Deps[0].Platform.Name).Boots {
		p.Boot = op.Disk().BootsBy(p.Arch)
	} else if traits.Boot != disk.BootBIOS {
		// A disk that BIOS has started may start by UEFI as well, and platforms start
		// by BIOS what nobody says otherwise of.
		p.Boot = traits.Boot
	}
	return p, nil
}

// published returns the images that stand for n, or why they do not. What stands is
// asked for once.
func (b *Build) published(ctx context.Context, n *plan.Node, op *export.Publish, key plan.Key) ([]solve.File, string, error) {
	if images := b.standing(n, key); images != nil {
		return files(images), "", nil
	}
	d, err := b.publisher(n)
	if err != nil {
		return nil, "", err
	}
	p, err := b.planned(ctx, n, op, key)
	if err != nil {
		return nil, "", err
	}
	found, why, err := d.Published(ctx, p)
	if err != nil || why != "" {
		return nil, why, err
	}
	return b.register(n, key, found), "", nil
}

// checkPublications asks the platforms on which nodes will register images
// whether they will be able to.
func (b *Build) checkPublications(ctx context.Context, nodes []*plan.Node) error {
	var errs []error
	for _, n := range nodes {
		op, ok := n.Op.(*export.Publish)
		if !ok {
			continue
		}
		d, err := b.publisher(n)
		if err != nil {
			return err
		}
		p, err := b.planned(ctx, n, op, n.Key)
		if err != nil {
			return err
		}
		if err := d.CheckPublish(ctx, p); err != nil {
			errs = append(errs, &plan.Error{Pos: n.Pos, Err: err})
		}
	}
	return errors.Join(errs...)
}

// publish registers the image of j.
func (e *exporter) publish(ctx context.Context, op *export.Publish, j solve.Job) (list []solve.File, err error) {
	d, err := e.b.publisher(j.Node)
	if err != nil {
		return nil, err
	}
	layer, err := plan.ParseKey(j.Chain[len(j.Chain)-1].Key)
	if err != nil {
		return nil, err
	}
	p, err := e.b.publication(j.Node, op, layer, j.Key, j.Traits)
	if err != nil {
		return nil, err
	}
	dir, remove, err := e.b.lent.TempDir("publish")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	var from platforms.ImageSource
	if ownLayer(j.Node) {
		from.Layer = j.Chain[len(j.Chain)-1].Ref
	} else if from.Disk, err = e.taken(ctx, op, j, dir); err != nil {
		return nil, err
	}
	found, err := d.Publish(ctx, p, from, j.Out)
	if err != nil {
		return nil, err
	}
	return e.b.register(j.Node, j.Key, found), nil
}

// taken returns the disk of j in the format that its platform takes, which is written
// into dir unless it is raw.
func (e *exporter) taken(ctx context.Context, op *export.Publish, j solve.Job, dir string) (string, error) {
	spec := e.b.Spec(j.Node.Platform.Name)
	format, err := e.takes(j.Node, op, spec)
	if err != nil {
		return "", err
	}
	request, err := e.request(ctx, j, &export.Op{Name: op.Name, Formats: []string{format}, Boot: op.Boot})
	if err != nil {
		return "", err
	}
	if h, ok := drivers.Named(spec.Takes.Hypervisor); ok {
		if err := export.CheckDrivers(ctx, request, disk.Use{Format: spec.Name, Hypervisor: h}); err != nil {
			return "", err
		}
	}
	if format == "raw" {
		return request.Disk, nil
	}
	file := filepath.Join(dir, "disk")
	return file, export.WriteFormat(ctx, request, format, file)
}

// takes returns the format of the disk that n's platform takes.
func (e *exporter) takes(n *plan.Node, op *export.Publish, spec platforms.Spec) (string, error) {
	d, err := e.b.Driver(n.Platform)
	if err != nil {
		return "", err
	}
	if t, ok := d.(platforms.FormatTaker); ok {
		return t.TakesFormat(op.Options)
	}
	return spec.Takes.Format, nil
}
