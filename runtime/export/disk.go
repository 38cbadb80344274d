package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk"
	"bake.build/bake/runtime/plan"
)

// DiskWriter is the version of what makes disks; see Writer.
const DiskWriter = 2

// A Disk makes the raw disk of a layer, once for all that is written from it:
// formats, and images that are registered.
type Disk struct {
	Size       int64  `key:"size"` // bytes; 0 means as needed, or that of the machine's disk
	Boot       string `key:"boot"`
	KernelArgs string `key:"kernel_args"`
	Disk       int    `key:"disk"`   // which of the machine's disks, from 1; 0 means 1
	Writer     int    `key:"writer"` // DiskWriter
}

// Kind implements plan.Op.
func (*Disk) Kind() string { return "disk" }

// Intermediate implements plan.Intermediate.
func (*Disk) Intermediate() {}

// Content names the bytes of the disk of a layer. All identifiers in the disk follow
// from it: those of the partition table, of the partitions and of the file systems.
func (d *Disk) Content(layer plan.Key) (plan.Key, error) {
	// As the op of a raw file without a name: registered images are found by this.
	fields, err := plan.Encode(&Op{Formats: []string{raw.Name}, Size: d.Size, Boot: d.Boot, KernelArgs: d.KernelArgs, Disk: d.Disk, Writer: d.Writer})
	if err != nil {
		return plan.Key{}, err
	}
	return append(fields, plan.Field{Name: "layer", Value: layer.String()}).Key(), nil
}

// BootsBy returns how the disk boots on machines of an architecture: "bios+uefi",
// "bios", "uefi" or "none".
func (d *Disk) BootsBy(arch string) string { return cmp.Or(bootMode(d.Boot, arch), disk.BootBoth) }

// A DiskRequest is one disk to be made.
type DiskRequest struct {
	Op *Disk

	// Tree shows the merged file tree of Layers, as platforms.Treer does.
	Tree func(ctx context.Context, use func(dir string) error) error

	// Own, unless it is nil, writes the layer's own disk to a new raw image with
	// holes. Tree is not asked then.
	Own func(ctx context.Context, dst string) error

	// MissingLoader, unless it is nil, returns where a disk that Own wrote lacks a boot
	// loader for machines without its UEFI variables, or "".
	MissingLoader func(disk string) (path string, err error)

	// Layers are those of the tree, from the oldest to the newest. The key of the oldest
	// is what the checksums in the disk follow from, since images that differ little
	// should differ in few blocks; that of the newest is the layer's own.
	Layers []platforms.Layer

	Arch     string // "amd64" or "arm64"; "" means the host's
	CacheDir string // where GRUB's images are kept; "" keeps none
	Logger   platforms.Logger
	Warn     func(message string) // told what will not work with the disk; may be nil
}

// MakeDisk makes the raw disk dst, a new sparse file. On an error, nothing is left of it.
func MakeDisk(ctx context.Context, r DiskRequest, dst string) error {
	r.Arch = cmp.Or(r.Arch, runtime.GOARCH)
	make := r.build
	if r.Own != nil {
		make = r.takeOwn
	}
	if err := make(ctx, dst, &sharedLogger{logger: r.Logger}); err != nil {
		return errors.Join(err, os.RemoveAll(dst))
	}
	return nil
}

// build makes the disk from the tree.
func (r *DiskRequest) build(ctx context.Context, dst string, logger *sharedLogger) error {
	if len(r.Layers) == 0 {
		return errors.New("no layers to make a disk of")
	}
	var dirs []string
	for _, l := range r.Layers {
		dirs = append(dirs, filepath.Join(l.Dir, "fs"))
	}
	oldest, err := plan.ParseKey(r.Layers[0].Key)
	if err != nil {
		return err
	}
	layer, err := plan.ParseKey(r.Layers[len(r.Layers)-1].Key)
	if err != nil {
		return err
	}
	id, err := r.Op.Content(layer)
	if err != nil {
		return err
	}
	return r.Tree(ctx, func(dir string) error {
		return disk.Build(ctx, dir, disk.Options{
			Layers: dirs,
			Size:   r.Op.Size, Boot: bootMode(r.Op.Boot, r.Arch), KernelArgs: r.Op.KernelArgs,
			Seed: oldest, ID: id, Arch: r.Arch, CacheDir: r.CacheDir,
			Note: logger.note, Warn: r.Warn,
			Progress: func(done, total int64) { logger.progress("disk", done, total) },
		}, dst)
	})
}

// takeOwn has the layer's own disk written, and grows it to the size that is asked
// for. The partitions are the machine's own business.
func (r *DiskRequest) takeOwn(ctx context.Context, dst string, logger *sharedLogger) error {
	if err := r.Own(ctx, dst); err != nil {
		return err
	}
	info, err := os.Stat(dst)
	if err != nil {
		return err
	}
	r.checkLoader(dst, logger)
	switch has := info.Size(); {
	case r.Op.Size == 0 || r.Op.Size == has:
		return nil
	case r.Op.Size < has:
		return fmt.Errorf("size: %s are less than the machine's disk, which has %s", platforms.FormatSize(r.Op.Size), platforms.FormatSize(has))
	}
	return os.Truncate(dst, r.Op.Size)
}

// checkLoader warns of a disk that boots with the UEFI variables of its own machine alone.
func (r *DiskRequest) checkLoader(disk string, logger *sharedLogger) {
	if r.Warn == nil || r.MissingLoader == nil {
		return
	}
	missing, err := r.MissingLoader(disk)
	if err != nil {
		logger.note("the boot loader is not looked for: " + err.Error())
	} else if missing != "" {
		r.Warn("its EFI system partition has no " + missing + ", where firmware looks that has not this machine's variables, as in a cloud: \"grub-install --removable\" in a step puts GRUB there")
	}
}

// bootMode is the boot mode of a definition where it is run: the default,
// both, means UEFI alone on machines that have no BIOS.
func bootMode(boot, arch string) string {
	if arch != "amd64" && (boot == "" || boot == disk.BootBoth) {
		return disk.BootUEFI
	}
	return boot
}
