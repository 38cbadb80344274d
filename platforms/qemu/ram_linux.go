package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// canKeepMemory says that the memory of machines can be shared with QEMU.
const canKeepMemory = true

// newRAM makes memory for a guest, of size bytes. It takes room only where the
// guest writes.
func newRAM(size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate("bake-guest", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a guest's memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "guest memory")
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// dup returns a second descriptor of f.
func dup(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate a descriptor: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Sizes of copying memory. Guests touch their memory in many places, so that
// small holes are copied with what is around them.
const (
	copyChunk = 4 << 20
	smallHole = 128 << 10
)

// copySparse copies what src holds to the empty file dst, with its large holes.
func copySparse(ctx context.Context, dst, src *os.File, workers int) error {
	size, err := src.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if err := dst.Truncate(size); err != nil {
		return err
	}
	var next atomic.Int64
	var g errgroup.Group
	for range workers {
		g.Go(func() error {
			buf := make([]byte, copyChunk)
			for ctx.Err() == nil {
				start := next.Add(copyChunk) - copyChunk
				if start >= size {
					return nil
				}
				if err := copyRange(dst, src, start, min(start+copyChunk, size), buf); err != nil {
					return err
				}
			}
			return context.Cause(ctx)
		})
	}
	return g.Wait()
}

// copyRange copies the data of src between two offsets, which lie as far apart
// as buf is long at most.
func copyRange(dst, src *os.File, from, end int64, buf []byte) error {
	for from < end {
		start, stop, err := nextData(src, from, end)
		if err != nil || start == end {
			return err
		}
		part := buf[:stop-start]
		if _, err := src.ReadAt(part, start); err != nil {
			return err
		}
		if _, err := dst.WriteAt(part, start); err != nil {
			return err
		}
		from = stop
	}
	return nil
}

// nextData finds the data from an offset on, up to end. start is end when there
// is none.
func nextData(f *os.File, from, end int64) (start, stop int64, err error) {
	// The offset of f is not used by anybody else's reads or writes.
	start, err = unix.Seek(int(f.Fd()), from, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return end, end, nil
	} else if err != nil {
		return 0, 0, err
	}
	if start >= end {
		return end, end, nil
	}
	for stop = start; stop < end; {
		if stop, err = unix.Seek(int(f.Fd()), stop, unix.SEEK_HOLE); err != nil {
			return 0, 0, err
		}
		again, err := unix.Seek(int(f.Fd()), stop, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && again-stop > smallHole {
			break
		} else if err != nil {
			return 0, 0, err
		}
		stop = again
	}
	return start, min(stop, end), nil
}

// updateSparse makes dst, an older copy of src, equal to it.
func updateSparse(dst, src *os.File) error {
	size, err := src.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	var next atomic.Int64
	var g errgroup.Group
	for range copyWorkers {
		g.Go(func() error {
			now, was := make([]byte, copyChunk), make([]byte, copyChunk)
			for {
				start := next.Add(copyChunk) - copyChunk
				if start >= size {
					return nil
				}
				n := min(copyChunk, size-start)
				if err := updateRange(dst, src, start, now[:n], was[:n]); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// updateRange updates a range that is as long as the two buffers.
func updateRange(dst, src *os.File, at int64, now, was []byte) error {
	empty := true
	for _, f := range []*os.File{src, dst} {
		start, _, err := nextData(f, at, at+int64(len(now)))
		if err != nil {
			return err
		}
		empty = empty && start == at+int64(len(now))
	}
	if empty {
		return nil
	}
	if _, err := src.ReadAt(now, at); err != nil {
		return err
	}
	if _, err := dst.ReadAt(was, at); err != nil {
		return err
	}
	const page = 4 << 10
	for i := 0; i < len(now); {
		if end := min(i+page, len(now)); bytes.Equal(now[i:end], was[i:end]) {
			i = end
			continue
		}
		from := i
		for i < len(now) && !bytes.Equal(now[i:min(i+page, len(now))], was[i:min(i+page, len(now))]) {
			i = min(i+page, len(now))
		}
		if _, err := dst.WriteAt(now[from:i], at+int64(from)); err != nil {
			return err
		}
	}
	return nil
}

// openKept opens a file of the cache for reading. No process takes it away as
// long as it is open.
func openKept(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		// One that was locked as it was taken away is no longer there.
		var info, now os.FileInfo
		if info, err = f.Stat(); err == nil {
			now, err = os.Stat(path)
		}
		if err == nil && !os.SameFile(info, now) {
			err = errNotKept
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
		err = errNotKept
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// takeAway moves a file of the cache to another place, to be changed there. It
// reports false when another process reads it, or has taken it.
func takeAway(path, to string) (taken bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if err := os.Rename(path, to); errors.Is(err, os.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, nil
}
