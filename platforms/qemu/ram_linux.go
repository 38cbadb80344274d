package qemu

import (
	"errors"
	"fmt"
	"io"
	"os"

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

// extent is what a file holds data in.
type extent struct{ start, end int64 }

// Sizes of copying memory: what one call moves, and how many move at once.
const (
	copyChunk   = 4 << 20
	copyWorkers = 4
)

// copySparse copies what src holds to the empty file dst, with the same holes.
func copySparse(dst, src *os.File) error {
	size, err := src.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if err := dst.Truncate(size); err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(copyWorkers)
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // no more data
		} else if err != nil {
			return errors.Join(err, g.Wait())
		}
		end, err := unix.Seek(int(src.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		for from := start; from < end; from += copyChunk {
			e := extent{from, min(from+copyChunk, end)}
			g.Go(func() error { return copyExtent(dst, src, e) })
		}
		at = end
	}
	return g.Wait()
}

func copyExtent(dst, src *os.File, e extent) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{io.NewOffsetWriter(dst, e.start)},
		struct{ io.Reader }{io.NewSectionReader(src, e.start, e.end-e.start)}, make([]byte, 1<<20))
	return err
}
