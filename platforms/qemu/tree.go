package qemu

import (
	"context"
	"errors"
	"path/filepath"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/root"
)

// Tree implements platforms.Treer with the chain's disk.
func (d *driver) Tree(ctx context.Context, chain []platforms.Layer, use func(dir string) error) (err error) {
	if err := root.Check(); err != nil {
		return err // before a machine starts
	}
	dir, remove, err := d.host.TempDir("disk")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	disk := filepath.Join(dir, "disk.raw")
	if err := d.Disk(ctx, chain, disk, quiet{}); err != nil {
		return err
	}
	return d.DiskTree(ctx, disk, use)
}

// DiskTree implements platforms.DiskTreer.
func (d *driver) DiskTree(ctx context.Context, disk string, use func(dir string) error) (err error) {
	scratch, remove, err := d.host.TempDir("tree")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	return root.Open(ctx, disk, scratch, use)
}

// CheckDiskTree implements platforms.DiskTreer.
func (d *driver) CheckDiskTree() []platforms.Problem {
	if err := root.Check(); err != nil {
		return []platforms.Problem{{
			What: err.Error(), Fix: "run bake as root on Linux, or export formats from the disk, such as qcow2",
			Need: "archives of a machine's files",
		}}
	}
	return nil
}
