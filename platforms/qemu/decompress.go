package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/decompress"
	"bake.build/bake/platforms/image/fetch"
)

// holeSize is how many zeros become a hole.
const holeSize = 64 << 10

// decompressTo writes the content of a compressed file to the new file dst, with
// holes.
func decompressTo(ctx context.Context, dst, src string, out platforms.Logger) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	tell := func(done, total int64) { out.Progress("decompress the disk", done, total) }
	r, err := decompress.Reader(ctx, &fetch.Meter{R: &fetch.Reader{Ctx: ctx, R: in}, Total: fi.Size(), Tell: tell})
	if err != nil {
		return fmt.Errorf("decompress: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := writeSparse(f, r)
	if err != nil {
		return fmt.Errorf("decompress: %w", err)
	}
	return f.Truncate(size)
}

// writeSparse writes what r holds but for zeros, and returns how much that is.
func writeSparse(f *os.File, r io.Reader) (size int64, err error) {
	buf, zeros := make([]byte, holeSize), make([]byte, holeSize)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := f.WriteAt(buf[:n], size); err != nil {
				return size, err
			}
		}
		size += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return size, nil
		} else if err != nil {
			return size, err
		}
	}
}
