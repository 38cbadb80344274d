package sparse

import (
	"context"
	"io"
	"os"
)

// Each calls fn with the ranges of the first size bytes of f that may hold data,
// from the first to the last.
func Each(f *os.File, size int64, fn func(start, end int64) error) error {
	for off := int64(0); off < size; {
		start, end, err := NextData(f, off, size)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := fn(start, end); err != nil {
			return err
		}
		off = end
	}
	return nil
}

// Copy writes the first size bytes of f to w. Holes are not read, which would fill
// the host's memory with their zeros; w gets zeros for them. tell, if not nil, is
// told how many bytes are done. A file that is shorter is an io.ErrUnexpectedEOF.
func Copy(ctx context.Context, w io.Writer, f *os.File, size int64, tell func(done int64)) error {
	const piece = 1 << 20
	c := copier{ctx: ctx, w: w, tell: tell}
	err := Each(f, size, func(start, end int64) error {
		if err := c.zeros(start); err != nil {
			return err
		}
		if c.buf == nil {
			c.buf = make([]byte, min(piece, size))
		}
		for c.done < end {
			b := c.buf[:min(int64(len(c.buf)), end-c.done)]
			if n, err := f.ReadAt(b, c.done); n < len(b) {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
			if err := c.write(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if info, err := f.Stat(); err != nil {
		return err
	} else if info.Size() < size {
		return io.ErrUnexpectedEOF
	}
	return c.zeros(size)
}

type copier struct {
	ctx  context.Context // of the one Copy
	w    io.Writer
	buf  []byte
	zero []byte
	done int64
	tell func(int64)
}

// zeros writes zeros up to an offset.
func (c *copier) zeros(to int64) error {
	if c.done < to && c.zero == nil {
		c.zero = make([]byte, 1<<20)
	}
	for c.done < to {
		if err := c.write(c.zero[:min(int64(len(c.zero)), to-c.done)]); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) write(b []byte) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	n, err := c.w.Write(b)
	if c.done += int64(n); c.tell != nil {
		c.tell(c.done)
	}
	return err
}

// CopyAll is Copy of all of f, which is read from its beginning.
func CopyAll(ctx context.Context, w io.Writer, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 { // or one of the kernel's, which have no size and some content
		_, err := io.Copy(w, f)
		return err
	}
	return Copy(ctx, w, f, info.Size(), nil)
}

// Clone copies f to the new file out with its holes.
func Clone(ctx context.Context, out, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const step = 64 << 20
	err = Each(f, info.Size(), func(start, end int64) error {
		for _, file := range []*os.File{f, out} {
			if _, err := file.Seek(start, io.SeekStart); err != nil {
				return err
			}
		}
		for start < end {
			if err := ctx.Err(); err != nil {
				return err
			}
			// The kernel copies, from file to file.
			n, err := io.CopyN(out, f, min(step, end-start))
			if start += n; err == io.EOF {
				return io.ErrUnexpectedEOF
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return out.Truncate(info.Size())
}
