package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"bake.build/bake/runtime/disk/ext4"
	"bake.build/bake/runtime/disk/fat"
	"bake.build/bake/runtime/disk/gpt"
	"bake.build/bake/runtime/disk/grub"
	"bake.build/bake/runtime/disk/tree"
)

// Build makes the raw disk out, a new sparse file, from the tree in dir. It
// reads dir on the calling goroutine only, since the directory may be there for
// that one alone. On an error, out is removed.
func Build(ctx context.Context, dir string, o Options, out string) (err error) {
	if err := o.complete(); err != nil {
		return err
	}
	images := makeImages(ctx, &o)
	// Its processes must have ended when this returns.
	defer func() { _, waitErr := images(); err = firstError(err, waitErr) }()
	t, err := tree.Scan(dir)
	if err != nil {
		return err
	}
	use := t.Usage()
	if o.Epoch.IsZero() {
		o.Epoch = time.Unix(use.Newest, 0)
	}
	if err := prepare(t, &o); err != nil {
		return err
	}
	// Inodes count too, and a disk of a given size has some to spare.
	use = t.Usage()
	need := ext4.Need(t) + int64(use.Inodes)*256
	size := roundUp(o.Size, mib)
	if size == 0 {
		size = o.sensible(need)
	}
	l, err := o.layout(size)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(out, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(out))
		}
	}()
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := o.table(l).Write(f); err != nil {
		return err
	}
	if err := o.fill(ctx, f, l, t, use); err != nil {
		var full *ext4.NoSpace
		if errors.As(err, &full) {
			return fmt.Errorf("the tree needs %d MiB and a disk of %s has room for %d MiB: give size = %q or more",
				roundUp(full.Need, mib)/mib, Size(size), full.Have/mib, Size(o.enough(need, size)))
		}
		return err
	}
	cores, err := images()
	if err != nil {
		return err
	}
	return o.install(f, l, cores)
}

// fill makes the root file system.
func (o *Options) fill(ctx context.Context, f *os.File, l layout, t *tree.Tree, use tree.Usage) error {
	// The tables of inodes must not grow for one file more: all that follows them
	// would lie elsewhere.
	inodes, step := int64(use.Inodes+use.Inodes/4+1024), l.root.size/ext4.BytesPerInode
	err := ext4.Format(ctx, f.Name(), l.root.off, l.root.size, ext4.Options{
		UUID:     o.fsID().String(),
		HashSeed: gpt.GUID(o.hashSeed()).String(),
		Label:    "root",
		Epoch:    o.Epoch,
		Inodes:   int(roundUp(inodes, step)),
	})
	if err != nil {
		return err
	}
	var progress func(int64)
	if o.Progress != nil {
		progress = func(done int64) { o.Progress(done, use.Bytes) }
	}
	order, err := o.order(t)
	if err != nil {
		return err
	}
	return ext4.Populate(ctx, f, l.root.off, t, order, progress)
}

// fsID is another one for another export, with the checksums of Seed's: it
// is in all of them, and images that differ little should differ in few blocks.
func (o *Options) fsID() gpt.GUID {
	return gpt.GUID(ext4.SameChecksums(gpt.DeriveGUID(o.ID, "file system"), gpt.DeriveGUID(o.Seed, "file system")))
}

// hashSeed is what the places of names in directories follow from.
func (o *Options) hashSeed() ext4.Seed { return ext4.Seed(gpt.DeriveGUID(o.Seed, "directory hash")) }

// makeImages starts to make GRUB's images and returns a function that waits
// for them, in the order of o.targets.
func makeImages(ctx context.Context, o *Options) func() ([][]byte, error) {
	targets, cache := o.targets(), o.CacheDir
	cores := make([][]byte, len(targets))
	g, ctx := errgroup.WithContext(ctx)
	for i, t := range targets {
		g.Go(func() (err error) {
			cores[i], err = grub.Core(ctx, t, cache)
			return err
		})
	}
	return func() ([][]byte, error) { return cores, g.Wait() }
}

// install puts GRUB's images on the disk.
func (o *Options) install(f *os.File, l layout, cores [][]byte) error {
	for i, t := range o.targets() {
		if t.EFI == "" {
			boot, err := grub.BootImage()
			if err != nil {
				return err
			}
			if err := grub.Embed(f, boot, cores[i], uint64(l.bios.off/gpt.SectorSize), uint64(l.bios.size/gpt.SectorSize)); err != nil {
				return err
			}
			continue
		}
		id := gpt.DeriveGUID(o.ID, "EFI file system")
		err := fat.Write(f, l.esp.off, l.esp.size, fat.Options{ID: binary.BigEndian.Uint32(id[:]), Label: "ESP", Time: o.Epoch},
			[]fat.File{{Path: t.EFI, Data: cores[i]}})
		if err != nil {
			return err
		}
	}
	return nil
}

// firstError returns err, or other where there is none.
func firstError(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
