package vmdk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"

	"bake.build/bake/internal/blocks"
)

// The layout follows VMware's Virtual Disk Format 5.0, "Stream-Optimized
// Compressed Sparse Extents". qemu-img writes it too, with one thread and at a
// tenth of the speed.
const (
	Sector        = 512
	grainSectors  = 128
	grainSize     = grainSectors * Sector
	tableEntries  = 512
	overhead      = 128 // sectors before the first grain
	DescSectors   = 20
	markerEnd     = 0
	markerTable   = 1
	markerDir     = 2
	markerFooter  = 3
	directoryLast = ^uint64(0) // the directory is where the footer says
	level         = 2          // of zlib: beyond it, time grows faster than files shrink
)

// WriteStream writes a raw disk of size bytes as a stream of compressed grains, which the
// description calls name. progress is told the bytes of the disk that are done.
func WriteStream(ctx context.Context, out io.Writer, name, disk string, size int64, id Identity, progress func(done int64)) error {
	return WriteStreams(ctx, []Stream{{Out: out, Name: name, ID: id}}, disk, size, progress)
}

// A Stream is one of several that hold the same disk.
type Stream struct {
	Out  io.Writer
	Name string // in the description
	ID   Identity
}

// WriteStreams writes several streams of one disk, which is compressed once.
func WriteStreams(ctx context.Context, streams []Stream, disk string, size int64, progress func(done int64)) error {
	var writers []*writer
	for _, s := range streams {
		w := &writer{w: bufio.NewWriterSize(s.Out, 1<<20), capacity: uint64(size / Sector)}
		if err := w.begin(descriptor(s.Name, s.ID, w.capacity)); err != nil {
			return err
		}
		writers = append(writers, w)
	}
	err := blocks.Each(ctx, disk, size, grainSize, deflate, func(index int64, data []byte) error {
		progress((index + 1) * grainSize)
		for _, w := range writers {
			if err := w.grain(uint64(index), data); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, w := range writers {
		if err := w.end(); err != nil {
			return err
		}
		if err := w.w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// deflate compresses one grain.
func deflate() (blocks.Compressor, error) {
	z, err := zlib.NewWriterLevel(io.Discard, level)
	if err != nil {
		return nil, err
	}
	return func(dst *bytes.Buffer, src []byte) error {
		z.Reset(dst)
		if _, err := z.Write(src); err != nil {
			return err
		}
		return z.Close()
	}, nil
}

// A writer writes grains, in rising order, and the tables that find them.
type writer struct {
	w        *bufio.Writer
	capacity uint64 // sectors of the disk
	at       uint64 // sector of the file to be written next
	zeros    [Sector]byte
	head     [12]byte // of a grain

	table     [tableEntries]uint32 // sector of each grain's marker
	tableNo   uint64
	used      bool // the present table has a grain
	directory []uint32
}

// write writes what is given, filled up to whole sectors with zeros.
func (v *writer) write(parts ...[]byte) error {
	total := 0
	for _, b := range parts {
		if _, err := v.w.Write(b); err != nil {
			return err
		}
		total += len(b)
	}
	n := (total + Sector - 1) / Sector
	if _, err := v.w.Write(v.zeros[:n*Sector-total]); err != nil {
		return err
	}
	v.at += uint64(n)
	return nil
}

func (v *writer) tables() uint64 {
	const span = tableEntries * grainSectors
	return (v.capacity + span - 1) / span
}

func (v *writer) begin(descriptor string) error {
	if len(descriptor) > DescSectors*Sector {
		return errors.New("the descriptor is too long")
	}
	v.directory = make([]uint32, v.tables())
	b := make([]byte, overhead*Sector)
	copy(b, v.header(directoryLast))
	copy(b[Sector:], descriptor)
	return v.write(b)
}

// header returns the header, which is the footer too.
func (v *writer) header(directory uint64) []byte {
	b := make([]byte, Sector)
	le := binary.LittleEndian
	copy(b, "KDMV")
	le.PutUint32(b[4:], 3)             // version
	le.PutUint32(b[8:], 1|1<<16|1<<17) // newline test, compressed grains, markers
	le.PutUint64(b[12:], v.capacity)   // of the disk
	le.PutUint64(b[20:], grainSectors) //
	le.PutUint64(b[28:], 1)            // where the descriptor is
	le.PutUint64(b[36:], DescSectors)  // and its size
	le.PutUint32(b[44:], tableEntries) //
	le.PutUint64(b[56:], directory)    // the redundant one at 48 is not there
	le.PutUint64(b[64:], overhead)     //
	copy(b[73:], "\n \r\n")            // what a transfer as text would break
	le.PutUint16(b[77:], 1)            // deflate
	return b
}

// marker writes the sector before metadata of n sectors.
func (v *writer) marker(kind uint32, n uint64) error {
	b := make([]byte, Sector)
	binary.LittleEndian.PutUint64(b, n)
	binary.LittleEndian.PutUint32(b[12:], kind)
	return v.write(b)
}

// grain writes the compressed grain with the number index.
func (v *writer) grain(index uint64, data []byte) error {
	for v.tableNo < index/tableEntries {
		if err := v.endTable(); err != nil {
			return err
		}
	}
	if v.at > 1<<32-1 {
		return errors.New("a VMDK of this kind holds at most 2 TiB")
	}
	v.table[index%tableEntries], v.used = uint32(v.at), true
	binary.LittleEndian.PutUint64(v.head[:], index*grainSectors)
	binary.LittleEndian.PutUint32(v.head[8:], uint32(len(data)))
	return v.write(v.head[:], data)
}

// endTable writes the present table unless it is empty.
func (v *writer) endTable() error {
	if v.used {
		if err := v.marker(markerTable, tableEntries*4/Sector); err != nil {
			return err
		}
		v.directory[v.tableNo] = uint32(v.at)
		if err := v.write(uint32s(v.table[:])); err != nil {
			return err
		}
	}
	v.tableNo++
	v.used = false
	clear(v.table[:])
	return nil
}

func (v *writer) end() error {
	if err := v.endTable(); err != nil {
		return err
	}
	dir := uint32s(v.directory)
	if err := v.marker(markerDir, uint64(len(dir)+Sector-1)/Sector); err != nil {
		return err
	}
	at := v.at
	if err := v.write(dir); err != nil {
		return err
	}
	if err := v.marker(markerFooter, 1); err != nil {
		return err
	}
	if err := v.write(v.header(at)); err != nil {
		return err
	}
	return v.marker(markerEnd, 0)
}

func uint32s(list []uint32) []byte {
	b := make([]byte, 4*len(list))
	for i, n := range list {
		binary.LittleEndian.PutUint32(b[4*i:], n)
	}
	return b
}

// What a description says of the disk's geometry, which nothing uses any more.
const heads, perTrack = 255, 63

func cylinders(sectors int64) int64 { return min(sectors/heads/perTrack, 65535) }

// none is the content identifier of a parent that is not there.
const none = "ffffffff"

// descriptorForm is the text that says what a disk of one extent is: its content
// identifier and its parent's, the kind, where the parent is, the sectors and the name
// of the extent, the geometry and the identity.
const descriptorForm = `# Disk DescriptorFile
version=1
CID=%s
parentCID=%s
createType="%s"
%s
# Extent description
RW %d SPARSE "%s"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "%d"
ddb.virtualHWVersion = "10"
%s`

// descriptor returns the description of a stream.
func descriptor(file string, id Identity, sectors uint64) string {
	return fmt.Sprintf(descriptorForm, id.CID, none, "streamOptimized", "", sectors, file, cylinders(int64(sectors)), heads, perTrack, id.Database())
}
