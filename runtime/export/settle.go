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

	"bake.build/bake/internal/sparse"
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
	n, err := hashSparse(ctx, h, f)
	file.Size, file.SHA256 = n, plan.Digest(hex.EncodeToString(h.Sum(nil)))
	return file, errors.Join(err, g.Wait())
}

// hashSparse writes the content of f to h and returns its size. Holes are not
// read, which would fill the host's memory with their zeros.
func hashSparse(ctx context.Context, h io.Writer, f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size, off := info.Size(), int64(0)
	buf, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for off < size {
		start, end, err := sparse.NextData(f, off, size)
		if err == io.EOF {
			start, end = size, size
		} else if err != nil {
			return 0, err
		}
		for off < end {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			var piece []byte
			if off < start {
				piece = zeros[:min(int64(len(zeros)), start-off)]
			} else {
				piece = buf[:min(int64(len(buf)), end-off)]
				if _, err := f.ReadAt(piece, off); err != nil {
					return 0, err
				}
			}
			if _, err := h.Write(piece); err != nil {
				return 0, err
			}
			off += int64(len(piece))
		}
	}
	return size, nil
}
