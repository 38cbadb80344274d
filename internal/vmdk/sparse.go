package vmdk

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"bake.build/bake/internal/sparse"
)

// Flags of an extent's header.
const (
	flagNewlines  = 1 << 0  // the characters are there that a transfer as text would break
	flagRedundant = 1 << 1  // there is a second directory
	flagZeros     = 1 << 2  // an entry of one stands for a grain of zeros
	flagPacked    = 1 << 16 // grains are compressed
)

// tableSize is what a grain table takes, in bytes.
const tableSize = 4 * tableEntries

// A layout is where the parts of a growing disk lie in its file, in sectors.
type layout struct {
	capacity   int64 // of the disk
	tables     int64
	directory  int64 // size of a grain directory
	redundant  int64 // where the redundant one begins
	second     int64 // and the other
	firstGrain int64
}

func layoutOf(size int64) layout {
	const span = tableEntries * grainSectors
	l := layout{capacity: size / Sector}
	l.tables = (l.capacity + span - 1) / span
	l.directory = (4*l.tables + Sector - 1) / Sector
	l.redundant = 1 + DescSectors
	whole := l.directory + l.tables*tableSize/Sector
	l.second = l.redundant + whole
	l.firstGrain = (l.second + whole + grainSectors - 1) / grainSectors * grainSectors
	return l
}

// header returns the first sector of the file.
func (l layout) header() []byte {
	b := make([]byte, Sector)
	le := binary.LittleEndian
	copy(b, "KDMV")
	le.PutUint32(b[4:], 1)
	le.PutUint32(b[8:], flagNewlines|flagRedundant)
	le.PutUint64(b[12:], uint64(l.capacity))
	le.PutUint64(b[20:], grainSectors)
	le.PutUint64(b[28:], 1)
	le.PutUint64(b[36:], DescSectors)
	le.PutUint32(b[44:], tableEntries)
	le.PutUint64(b[48:], uint64(l.redundant))
	le.PutUint64(b[56:], uint64(l.second))
	le.PutUint64(b[64:], uint64(l.firstGrain))
	copy(b[73:], "\n \r\n")
	return b
}

// directoryAt returns a directory, with its tables behind it, that begins at a sector.
func (l layout) directoryAt(sector int64, grains []uint32) []byte {
	b := make([]byte, l.directory*Sector, (l.directory+l.tables*tableSize/Sector)*Sector)
	for i := range l.tables {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(sector+l.directory+i*tableSize/Sector))
	}
	b = append(b, uint32s(grains)...)
	return b[:cap(b)] // the last table may not be full
}

// WriteSparse writes the raw disk in of size bytes, a multiple of a sector, to the empty
// file out as a growing disk (monolithicSparse), whose file is called name. progress may
// be nil.
func WriteSparse(ctx context.Context, out, in *os.File, name string, size int64, id Identity, progress func(done, total int64)) error {
	l := layoutOf(size)
	text := fmt.Sprintf(descriptorForm, id.CID, none, "monolithicSparse", "", l.capacity, name, cylinders(l.capacity), heads, perTrack, id.Database())
	if size%Sector != 0 || len(text) > DescSectors*Sector {
		return fmt.Errorf("a VMDK of %d bytes, described by %d", size, len(text))
	}
	grains := make([]uint32, (l.capacity+grainSectors-1)/grainSectors)
	next, buf := l.firstGrain, make([]byte, grainSize)
	err := sparse.Each(in, size, func(start, end int64) error {
		for at := start / grainSize * grainSize; at < end; at += grainSize {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			index := at / grainSize
			if grains[index] != 0 {
				continue // the range before this one ended in it
			}
			clear(buf)
			if _, err := in.ReadAt(buf[:min(grainSize, size-at)], at); err != nil && err != io.EOF {
				return err
			}
			if isZero(buf) {
				continue
			}
			if _, err := out.WriteAt(buf, next*Sector); err != nil {
				return err
			}
			grains[index] = uint32(next)
			next += grainSectors
			if progress != nil {
				progress(at, size)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if next > 1<<32-1 {
		return fmt.Errorf("a VMDK of this kind holds at most 2 TiB of data")
	}
	head := make([]byte, (1+DescSectors)*Sector)
	copy(head, l.header())
	copy(head[Sector:], text)
	for at, part := range map[int64][]byte{
		0: head, l.redundant: l.directoryAt(l.redundant, grains), l.second: l.directoryAt(l.second, grains),
	} {
		if _, err := out.WriteAt(part, at*Sector); err != nil {
			return err
		}
	}
	return out.Truncate(next * Sector)
}

func isZero(b []byte) bool { return b[0] == 0 && bytes.Equal(b[:len(b)-1], b[1:]) }
