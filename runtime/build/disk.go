package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// heldDisks are the disks that something is written from, each in a directory of its own.
type heldDisks struct {
	mu     sync.Mutex
	remove map[plan.Key]func() error
}

func (h *heldDisks) put(key plan.Key, remove func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.remove == nil {
		h.remove = map[plan.Key]func() error{}
	}
	h.remove[key] = remove
}

// Release implements solve.Releaser.
func (e *exporter) Release(_ *plan.Node, key plan.Key) error {
	e.disks.mu.Lock()
	remove := e.disks.remove[key]
	delete(e.disks.remove, key)
	e.disks.mu.Unlock()
	if remove == nil {
		return nil
	}
	return remove()
}

// disk makes the disk of j's layer, which stays until Release.
func (e *exporter) disk(ctx context.Context, op *export.Disk, j solve.Job) (files []solve.File, err error) {
	dir, remove, err := e.b.lent.TempDir("disk")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove())
		}
	}()
	path := filepath.Join(dir, "disk.raw")
	if err := e.makeDisk(ctx, op, j, path); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	e.disks.put(j.Key, remove)
	return []solve.File{{Path: path, Format: "raw", Size: info.Size()}}, nil
}

// makeDisk writes the disk of j's layer, from an artifact that has it or else anew.
func (e *exporter) makeDisk(ctx context.Context, op *export.Disk, j solve.Job, path string) error {
	if ok := e.rewrite(ctx, j, path); ok || ctx.Err() != nil {
		return ctx.Err()
	}
	request, err := e.diskRequest(j, op)
	if err != nil {
		return err
	}
	return export.MakeDisk(ctx, request, path)
}

// rewrite writes the disk of j as an artifact of the definition has it: so what is added
// to that has the same bits, even of a machine, whose disk would be another one each
// time. It returns false where there is none.
func (e *exporter) rewrite(ctx context.Context, j solve.Job, path string) bool {
	reader := export.DiskReader{Files: e.b.Store.StatCache(), Wrote: e.b.wrote, Locate: e.b.Locate}
	for _, t := range e.b.Definition.Artifacts {
		op, ok := t.Node.Op.(*export.Op)
		if !ok {
			continue
		}
		dir, err := e.dir(t.Node)
		if err == nil {
			ok, err = reader.Read(ctx, dir, j.Key, path, j.Out)
		}
		if err != nil {
			fmt.Fprintf(j.Out, "the disk of the artifact %s cannot be read: %v\n", op.Name, err)
		} else if ok {
			fmt.Fprintf(j.Out, "the disk is that of the artifact %s\n", op.Name) // a log that cannot be written is told by who keeps it
			return true
		}
	}
	return false
}

// diskRecord is the kind of the records of the files that were written from a disk, by
// their digests: the keys of the disks.
const diskRecord = "disk"

// recordDisk notes which files of m were written from its disk.
func (b *Build) recordDisk(m *export.Manifest) error {
	if m.Disk == "" {
		return nil
	}
	for _, f := range m.Files {
		if err := b.Store.PutRecord(diskRecord, string(f.SHA256), strconv.AppendQuote(nil, m.Disk)); err != nil {
			return err
		}
	}
	return nil
}

// wrote reports whether a file with the digest was written from the disk by a build with
// this store: an artifact in the output directory may come from anywhere.
func (b *Build) wrote(disk plan.Key, file plan.Digest) bool {
	value, err := b.Store.GetRecord(diskRecord, string(file))
	return err == nil && string(value) == strconv.Quote(disk.String())
}

// diskRequest returns how the disk of j's layer is made.
func (e *exporter) diskRequest(j solve.Job, op *export.Disk) (export.DiskRequest, error) {
	cache, err := e.b.Store.CacheDir("grub")
	if err != nil {
		return export.DiskRequest{}, err
	}
	request := export.DiskRequest{
		Op:       op,
		Tree:     treeOf(j),
		Layers:   j.Chain,
		Arch:     j.Traits.Arch,
		CacheDir: cache,
		Logger:   j.Out,
		Warn:     e.b.warnOf(j.Node),
	}
	disker, ok := j.Driver.(platforms.Disker)
	if !ok {
		return request, nil
	}
	request.Own = func(ctx context.Context, dst string) error { return disker.Disk(ctx, j.Chain, dst, j.Out) }
	if op.Disk > 1 {
		further, ok := j.Driver.(platforms.FurtherDisker)
		if !ok {
			return request, fmt.Errorf("the platform %s has one disk", j.Node.Platform.Name)
		}
		request.Own = func(ctx context.Context, dst string) error {
			return further.FurtherDisk(ctx, j.Chain, op.Disk-1, dst, j.Out)
		}
	} else if v, ok := j.Driver.(platforms.VariableStorer); ok {
		request.MissingLoader = v.MissingLoader
	}
	return request, nil
}
