package export

import (
	"cmp"
	"context"
	"runtime"

	"bake.build/bake/runtime/disk"
)

// Check returns why MakeDisk would fail, as far as the layer's tree says. Layers that
// have a disk of their own are not looked at.
func Check(ctx context.Context, r DiskRequest) error {
	if r.Own != nil {
		return nil
	}
	arch := cmp.Or(r.Arch, runtime.GOARCH)
	return r.Tree(ctx, func(dir string) error {
		return disk.Check(dir, disk.Options{
			Size: r.Op.Size, Boot: bootMode(r.Op.Boot, arch), KernelArgs: r.Op.KernelArgs, Arch: arch,
		})
	})
}
