package export

import (
	"context"
	"errors"
	"os"

	"bake.build/bake/internal/sparse"
	"bake.build/bake/runtime/disk/drivers"
)

var raw = Format{
	Name: "raw", Ext: ".raw", From: FromDisk, RunsOn: &drivers.KVM,
	Doc:   "The disk as it is, in a sparse file.",
	Write: func(ctx context.Context, j *Job, out string) error { return copySparse(ctx, j.disk, out) },
}

// copySparse copies a file to the new file dst, with its holes.
func copySparse(ctx context.Context, src, dst string) (err error) {
	from, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(sparse.Clone(ctx, to, from), to.Close())
}
