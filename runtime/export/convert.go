package export

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"

	"bake.build/bake/internal/sparse"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// Convert writes the raw image disk as the new file out in a format that is made
// from disks, and is not raw itself. The identifiers in it follow from the content.
func Convert(ctx context.Context, f Format, disk, out string, logger platforms.Logger) error {
	key, size, err := contentKey(ctx, disk)
	if err != nil {
		return err
	}
	j := newJob(&Request{Op: &Op{}, Key: key, Logger: logger}, "", nil)
	j.disk, j.diskSize = disk, size
	return f.Write(ctx, j, out)
}

// contentKey returns the digest of a file's content, and its size.
func contentKey(ctx context.Context, name string) (key plan.Key, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return key, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return key, 0, err
	}
	h := sha256.New()
	if err := sparse.CopyAll(ctx, h, f); err != nil {
		return key, 0, err
	}
	h.Sum(key[:0])
	return key, info.Size(), nil
}
