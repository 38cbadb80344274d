package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	copySize = 256 << 10
	holeSize = 4 << 10 // runs of zeros of this size become holes
)

func (u *unpacker) file(ctx context.Context, dir int, base string, h *tar.Header, r io.Reader) error {
	if err := u.tree.remove(dir, base); err != nil {
		return err
	}
	fd, err := unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	f := os.NewFile(uintptr(fd), base)
	if u.buf == nil {
		u.buf = make([]byte, copySize)
	}
	err = u.copySparse(ctx, f, r, h.Size)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return u.meta(dir, base, h)
}

// A counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// copySparse copies size bytes and leaves holes where there are zeros.
func (u *unpacker) copySparse(ctx context.Context, f *os.File, r io.Reader, size int64) error {
	// First, since a size that the file system cannot hold ends a hostile
	// archive here, and not after reading years of zeros.
	if err := f.Truncate(size); err != nil {
		return err
	}
	var at int64
	for at < size {
		if err := ctx.Err(); err != nil {
			return err
		}
		before := u.read.n
		n, err := io.ReadFull(r, u.buf[:min(int64(len(u.buf)), size-at)])
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		// What comes out where nothing went in is a hole of the archive.
		if u.read.n > before {
			if err := writeData(f, u.buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	return nil
}

// writeData writes the runs of p that hold more than zeros.
func writeData(f *os.File, p []byte, at int64) error {
	var zero [holeSize]byte
	for start := 0; start < len(p); {
		end := start
		for end < len(p) {
			block := p[end:min(end+holeSize, len(p))]
			if bytes.Equal(block, zero[:len(block)]) {
				break
			}
			end += len(block)
		}
		if end > start {
			if _, err := f.WriteAt(p[start:end], at+int64(start)); err != nil {
				return err
			}
		}
		start = end + holeSize
	}
	return nil
}
