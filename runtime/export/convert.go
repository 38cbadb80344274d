package export

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"bake.build/bake/internal/sparse"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// Convert writes the raw image disk as the new file out in a format that is made
// from disks. The identifiers in it follow from the content.
func Convert(ctx context.Context, f Format, disk, out string, logger platforms.Logger) error {
	key, err := contentKey(ctx, disk)
	if err != nil {
		return err
	}
	return WriteFormat(ctx, Request{Op: &Op{Name: strings.TrimSuffix(filepath.Base(out), f.Ext)}, Key: key, Formats: Table{f}, Disk: disk, Logger: logger}, f.Name, out)
}

// WriteFormat writes the disk of r as the new file out in a format that is made from
// disks. r needs no OutDir.
func WriteFormat(ctx context.Context, r Request, format, out string) error {
	f, err := r.Formats.format(format)
	if err != nil {
		return err
	}
	j, err := newJob(&r, "", nil)
	if err != nil {
		return err
	}
	if err := f.Write(ctx, j, out); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	return nil
}

// contentKey returns the digest of a file's content.
func contentKey(ctx context.Context, name string) (key plan.Key, err error) {
	f, err := os.Open(name)
	if err != nil {
		return key, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if err := sparse.CopyAll(ctx, h, f); err != nil {
		return key, err
	}
	h.Sum(key[:0])
	return key, nil
}
