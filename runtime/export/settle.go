package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"bake.build/bake/runtime/plan"
)

// settle makes the file or folder name in dir durable and returns what is to
// be known of its files, in the order of their names.
func settle(ctx context.Context, dir, name, format string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(filepath.Join(dir, name), func(p string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if d.IsDir() {
			return syncDir(p)
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		f, err := settleFile(ctx, p)
		f.Path, f.Format = filepath.ToSlash(rel), format
		files = append(files, f)
		return err
	})
	if err == nil && len(files) == 0 {
		err = errors.New("no file was written")
	}
	return files, err
}

// settleFile hashes a file, most of which is in the host's memory, while it is
// written to the device.
func settleFile(ctx context.Context, path string) (file File, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return file, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var g errgroup.Group
	g.Go(f.Sync)
	h := sha256.New()
	n := int64(0)
	buf := make([]byte, 1<<20)
	for err == nil {
		var k int
		k, err = f.ReadAt(buf, n)
		h.Write(buf[:k])
		n += int64(k)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
	}
	if err == io.EOF {
		err = nil
	}
	file.Size, file.SHA256 = n, plan.Digest(hex.EncodeToString(h.Sum(nil)))
	return file, errors.Join(err, g.Wait())
}
