package export

import (
	"context"
	"slices"

	"bake.build/bake/runtime/disk"
)

// Check returns why Run would fail, as far as the layer's tree says. Layers that
// have a disk of their own are not looked at.
func Check(ctx context.Context, r Request) error {
	list, err := r.Formats.formats(r.Op.Formats)
	if err != nil || r.Disk != nil || !slices.ContainsFunc(list, func(f Format) bool { return f.From == FromDisk }) {
		return err
	}
	return r.Tree(ctx, func(dir string) error {
		return disk.Check(dir, disk.Options{
			Size: r.Op.Size, Boot: bootMode(r.Op.Boot, r.Arch), KernelArgs: r.Op.KernelArgs, Arch: r.Arch,
		})
	})
}
