// Package blocks compresses data in blocks, on every CPU, in bounded memory.
package blocks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"

	"bake.build/bake/internal/sparse"
)

// A Compressor writes the compressed form of src to dst. It is used by one
// goroutine.
type Compressor func(dst *bytes.Buffer, src []byte) error

// A block is one piece of data on its way through a pipeline.
type block struct {
	index int64
	buf   []byte
	n     int // bytes of buf that count
	dst   bytes.Buffer
	ready chan struct{} // closed when dst is filled
}

// A pipeline compresses blocks on every CPU and hands them on in the order in
// which they were sent. Its memory is a fixed number of blocks.
type pipeline struct {
	ctx               context.Context // of the one export that the pipeline serves
	g                 *errgroup.Group
	free, todo, order chan *block
}

// newPipeline starts a pipeline of blocks of size bytes. Each worker gets a
// compressor of its own. write is called by one goroutine.
func newPipeline(ctx context.Context, size int, newCompressor func() (Compressor, error), write func(b *block) error) *pipeline {
	workers := runtime.GOMAXPROCS(0)
	depth := 4 * workers
	p := &pipeline{free: make(chan *block, depth), todo: make(chan *block, depth), order: make(chan *block, depth)}
	p.g, p.ctx = errgroup.WithContext(ctx)
	for range depth {
		p.free <- &block{buf: make([]byte, size)}
	}
	for range workers {
		p.g.Go(func() error {
			compress, err := newCompressor()
			if err != nil {
				return err
			}
			for b := range p.todo {
				b.dst.Reset()
				if err := compress(&b.dst, b.buf[:b.n]); err != nil {
					return err
				}
				close(b.ready)
			}
			return nil
		})
	}
	p.g.Go(func() error {
		for b := range p.order {
			select {
			case <-b.ready:
			case <-p.ctx.Done():
				return p.ctx.Err()
			}
			if err := write(b); err != nil {
				return err
			}
			p.free <- b
		}
		return nil
	})
	return p
}

// get returns a block to be filled, which goes to send or to drop.
func (p *pipeline) get() (*block, error) {
	select {
	case b := <-p.free:
		return b, nil
	case <-p.ctx.Done():
		return nil, p.ctx.Err()
	}
}

// send and drop never wait: every queue has room for every block.
func (p *pipeline) send(b *block) {
	b.ready = make(chan struct{})
	p.order <- b
	p.todo <- b
}

func (p *pipeline) drop(b *block) { p.free <- b }

// close ends the pipeline, after the last send, and returns its first error.
func (p *pipeline) close() error {
	close(p.todo)
	close(p.order)
	return p.g.Wait()
}

// Each compresses those blocks of a file that are not all zeros. The last one is filled up
// with zeros. Each worker gets a compressor of its own. write is called by one goroutine,
// in the order of the blocks, with the number of each.
func Each(ctx context.Context, path string, total int64, size int, newCompressor func() (Compressor, error), write func(index int64, compressed []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	p := newPipeline(ctx, size, newCompressor, func(b *block) error { return write(b.index, b.dst.Bytes()) })
	err = p.read(f, total, int64(size))
	// The pipeline's error is the cause of a reader that was stopped by it.
	return FirstError(p.close(), errors.Join(err, f.Close()))
}

func (p *pipeline) read(f *os.File, total, size int64) error {
	end := int64(0) // of the present range of data
	for off := int64(0); off < total; off += size {
		if off >= end {
			start, stop, err := sparse.NextData(f, off, total)
			if err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			off, end = max(off, start/size*size), stop
		}
		b, err := p.get()
		if err != nil {
			return err
		}
		b.index, b.n = off/size, len(b.buf)
		n := min(size, total-off)
		if _, err := f.ReadAt(b.buf[:n], off); err != nil {
			p.drop(b)
			return err
		}
		clear(b.buf[n:])
		if allZero(b.buf) {
			p.drop(b)
			continue
		}
		p.send(b)
	}
	return nil
}

func allZero(b []byte) bool { return b[0] == 0 && bytes.Equal(b[:len(b)-1], b[1:]) }

// FirstError returns err, or else other: an error that is the cause of another one hides it.
func FirstError(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// A Writer compresses what it is given piece by piece, for formats whose pieces may follow
// one another: gzip and zstd.
type Writer struct {
	p *pipeline
	b *block // being filled, or nil
}

// NewWriter returns a Writer to w.
func NewWriter(ctx context.Context, w io.Writer, newCompressor func() (Compressor, error)) *Writer {
	const piece = 1 << 20
	return &Writer{p: newPipeline(ctx, piece, newCompressor, func(b *block) error {
		_, err := w.Write(b.dst.Bytes())
		return err
	})}
}

// Write implements io.Writer.
func (s *Writer) Write(data []byte) (n int, err error) {
	for n < len(data) {
		if s.b == nil {
			if s.b, err = s.p.get(); err != nil {
				return n, err
			}
			s.b.n = 0
		}
		k := copy(s.b.buf[s.b.n:], data[n:])
		s.b.n += k
		n += k
		if s.b.n == len(s.b.buf) {
			s.p.send(s.b)
			s.b = nil
		}
	}
	return n, nil
}

// Close writes what is left. It does not close the writer below.
func (s *Writer) Close() error {
	if s.b != nil {
		s.p.send(s.b)
		s.b = nil
	}
	return s.p.close()
}
