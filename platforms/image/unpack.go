package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"bake.build/bake/platforms/image/decompress"
	"bake.build/bake/platforms/image/fetch"
)

// holeSize is how many zeros become a hole.
const holeSize = 64 << 10

// Unpack returns the path of a file that holds what the file at path does, decompressed:
// path itself, of a file that is not compressed or of a folder, else a new file with
// holes in the folder scratch. progress may be nil.
func Unpack(ctx context.Context, path, scratch string, progress func(done, total int64)) (string, error) {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		return path, err
	}
	compressed, err := decompress.Compressed(path)
	if err != nil || !compressed {
		return path, err
	}
	dst := filepath.Join(scratch, "unpacked")
	if err := decompressTo(ctx, dst, path, info.Size(), progress); err != nil {
		return "", fmt.Errorf("decompress: %w", err)
	}
	return dst, nil
}

// decompressTo writes the content of a compressed file of size bytes to the new file dst.
func decompressTo(ctx context.Context, dst, src string, size int64, progress func(done, total int64)) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	r, err := decompress.Reader(ctx, &fetch.Meter{R: &fetch.Reader{Ctx: ctx, R: in}, Total: size, Tell: progress})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return WriteSparse(f, r)
}

// WriteSparse writes what r holds, but for zeros, to an empty file.
func WriteSparse(f *os.File, r io.Reader) error {
	buf, zeros, size := make([]byte, holeSize), make([]byte, holeSize), int64(0)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := f.WriteAt(buf[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return f.Truncate(size)
		} else if err != nil {
			return err
		}
	}
}
