package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"bake.build/bake/internal/durable"
	"bake.build/bake/internal/sparse"
	"bake.build/bake/runtime/plan"
)

// A progress is told how much of something is done, in bytes.
type progress func(what string, done, total int64)

// settle makes the file or folder name in dir durable and returns what is to
// be known of its files, in the order of their names.
func settle(ctx context.Context, dir, name, format string, tell progress) ([]File, error) {
	var files []File
	err := filepath.WalkDir(filepath.Join(dir, name), func(p string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if d.IsDir() {
			return durable.SyncDir(p)
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		f, err := settleFile(ctx, p, func(done, total int64) { tell("checksum of "+d.Name(), done, total) })
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
// written to the device. Its holes are zeros to the hash, however many: a disk of
// terabytes takes minutes, which tell shows.
func settleFile(ctx context.Context, path string, tell func(done, total int64)) (file File, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return file, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var g errgroup.Group
	g.Go(f.Sync)
	info, err := f.Stat()
	if err != nil {
		return file, errors.Join(err, g.Wait())
	}
	h := sha256.New()
	err = sparse.Copy(ctx, h, f, info.Size(), func(done int64) { tell(done, info.Size()) })
	file.Size, file.SHA256 = info.Size(), plan.Digest(hex.EncodeToString(h.Sum(nil)))
	return file, errors.Join(err, g.Wait())
}
