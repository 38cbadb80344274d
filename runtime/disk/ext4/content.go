package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"bake.build/bake/internal/sparse"
	"bake.build/bake/runtime/disk/tree"
)

const chunk = 1 << 20 // bytes read at once

// content copies a regular file's content. Blocks of zeros become holes.
func (p *populator) content(in *tree.Inode) (x extents, err error) {
	if in.Size == 0 {
		return nil, nil
	}
	r, err := p.t.Content(in)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	f, holes := r.(*os.File)
	holes = holes && in.Stored < in.Size
	end := int64(0) // of the present range of data
	if !holes {
		end = in.Size
	}
	for off := int64(0); off < in.Size; {
		if off >= end {
			start, stop, err := sparse.NextData(f, off, in.Size)
			if err == io.EOF {
				break
			} else if err != nil {
				return nil, err
			}
			// Ranges are taken in whole blocks, so none is mapped twice.
			off, end = max(off, start&^(blockSize-1)), min((stop+blockSize-1)&^(blockSize-1), in.Size)
			if _, err := f.Seek(off, io.SeekStart); err != nil {
				return nil, err
			}
		}
		buf := p.out.buffer()
		n := int(min(chunk, end-off))
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			p.out.release(buf)
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = errors.New("the file became shorter while it was read")
			}
			return nil, err
		}
		clear(buf[n:pad(n)])
		if err := p.place(&x, uint32(off/blockSize), buf, pad(n)); err != nil {
			return nil, err
		}
		off += int64(n)
		p.done += int64(n)
		if p.progress != nil {
			p.progress(p.done)
		}
	}
	return x, nil
}

func pad(n int) int { return (n + blockSize - 1) &^ (blockSize - 1) }

// place gives blocks to what of buf[:n] is not zero and hands buf to the
// writer.
func (p *populator) place(x *extents, logical uint32, buf []byte, n int) error {
	j := &job{buf: buf}
	for at := 0; at < n; {
		if isZero(buf[at : at+blockSize]) {
			at += blockSize
			continue
		}
		end := at + blockSize
		for end < n && !isZero(buf[end:end+blockSize]) {
			end += blockSize
		}
		for at < end {
			start, got, err := p.blocks.alloc(uint64(end-at) / blockSize)
			if err != nil {
				p.out.release(buf)
				return err
			}
			x.add(logical+uint32(at/blockSize), start, got)
			j.runs = append(j.runs, run{at, at + int(got)*blockSize, start})
			at += int(got) * blockSize
		}
	}
	if len(j.runs) == 0 {
		p.out.release(buf)
		return nil
	}
	return p.out.send(j)
}

func isZero(b []byte) bool {
	return b[0] == 0 && b[len(b)-1] == 0 && bytes.Equal(b[:len(b)-1], b[1:])
}

// A job is a buffer of content and where its pieces go.
type job struct {
	buf  []byte
	runs []run
}

type run struct {
	from, to int
	block    uint64
}

// A writer writes content beside the goroutine that reads it. Its memory is a
// fixed number of buffers.
type writer struct {
	v    *volume
	free chan []byte
	jobs chan *job
	wg   sync.WaitGroup

	mu  sync.Mutex
	err error
	ctx context.Context // of the one Populate that the writer serves
}

func newWriter(ctx context.Context, v *volume) *writer {
	const buffers, workers = 8, 2
	w := &writer{v: v, free: make(chan []byte, buffers), jobs: make(chan *job, buffers), ctx: ctx}
	for range buffers {
		w.free <- make([]byte, chunk)
	}
	for range workers {
		w.wg.Go(func() {
			for j := range w.jobs {
				w.do(j)
			}
		})
	}
	return w
}

func (w *writer) do(j *job) {
	defer w.release(j.buf)
	for _, r := range j.runs {
		if w.failed() != nil {
			return
		}
		if err := w.v.write(j.buf[r.from:r.to], r.block); err != nil {
			w.mu.Lock()
			w.err = fmt.Errorf("write content: %w", err)
			w.mu.Unlock()
		}
	}
}

func (w *writer) buffer() []byte     { return <-w.free }
func (w *writer) release(buf []byte) { w.free <- buf }

func (w *writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// send hands a job over. It returns what went wrong with an earlier one.
func (w *writer) send(j *job) error {
	if err := errors.Join(w.failed(), w.ctx.Err()); err != nil {
		w.release(j.buf)
		return err
	}
	w.jobs <- j
	return nil
}

// close waits until everything is written.
func (w *writer) close() error {
	close(w.jobs)
	w.wg.Wait()
	return w.failed()
}
