package build

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// Image builds the one artifact that name names, unless it is up to date, and fills its
// file into the image: its path and format, and its architecture and boot mode where
// image does not say them.
func (b *Build) Image(ctx context.Context, name string, image *platforms.Image, o Options) error {
	targets, err := Choose(b.Definition.Artifacts, []string{name})
	if err != nil {
		return err
	}
	if len(targets) != 1 {
		return of(KindUsage, fmt.Errorf("%s names %d artifacts, want one", name, len(targets)))
	}
	n := targets[0].Node
	if _, ok := n.Op.(*export.Publish); ok {
		return of(KindDefinition, fmt.Errorf("the artifact %s is an image of %s, and has no disk that a machine starts from", name, n.Platform.Name))
	}
	files, err := b.artifactFiles(ctx, targets[0], o)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(files, func(f solve.File) bool {
		_, ok := platforms.DiskFormatNamed(f.Format)
		return ok
	})
	if i < 0 {
		return of(KindDefinition, fmt.Errorf("the artifact %s has no disk that a machine starts from", name))
	}
	format, _ := platforms.DiskFormatNamed(files[i].Format)
	image.Path, image.Format = b.abs(files[i].Path), format.Name
	if format.Folder {
		image.Path = filepath.Dir(image.Path)
	}
	if i := slices.IndexFunc(files, func(f solve.File) bool { return f.Format == platforms.VariablesFormat }); i >= 0 {
		image.Variables = b.abs(files[i].Path)
	}
	traits, err := b.layers().Describe(ctx, n)
	if err != nil {
		return err
	}
	image.Arch = cmp.Or(image.Arch, traits.Arch)
	if op, ok := n.Op.(*export.Op); traits.Boot == disk.BootUEFI || ok && op.Boot == disk.BootUEFI {
		image.UEFI = true
	}
	return nil
}

// artifactFiles returns the files of an artifact, which is built unless it is up to date.
func (b *Build) artifactFiles(ctx context.Context, target builtins.Target, o Options) ([]solve.File, error) {
	targets := []builtins.Target{target}
	d, err := b.decision(ctx, target.Node)
	if err != nil || d.State == solve.Cached {
		return d.Files, err
	}
	if _, err := b.Run(ctx, targets, o); err != nil {
		return nil, err
	}
	d, err = b.decision(ctx, target.Node)
	return d.Files, err
}

func (b *Build) decision(ctx context.Context, n *plan.Node) (solve.Decision, error) {
	schedule, err := b.decide(ctx, []*plan.Node{n})
	if err != nil {
		return solve.Decision{}, err
	}
	return schedule.Of(n), nil
}
