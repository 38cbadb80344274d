package qcow2

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"bake.build/bake/internal/blocks"
)

// The layout follows docs/interop/qcow2.txt of QEMU, version 3: the header, the reference
// counts, the tables of the first and second level, the clusters that do not become
// smaller, and those that do, packed one behind the other.
const (
	clusterBits  = 16
	clusterSize  = 1 << clusterBits
	tableEntries = clusterSize / 8 // of 64 bits
	blockEntries = clusterSize / 2 // reference counts of 16 bits
	sector       = 512
	headerLength = 112

	flagCopied      = 1 << 63 // the reference count is one
	flagCompressed  = 1 << 62
	sectorsShift    = 62 - (clusterBits - 8)
	featureCompress = 1 << 3 // the compression type is another than zlib
)

// A Compression is how the clusters of an image are compressed.
type Compression int

// The compressions that the format has.
const (
	Zlib Compression = 0 // which every QEMU reads
	Zstd Compression = 1 // since QEMU 5.1, of 2020
)

// A cluster of the disk that has data.
type cluster struct {
	index  uint32
	length uint32 // compressed; clusterSize stands for a cluster that is not
}

// An Image is a compressed image of a disk, whose layout is known and whose data are not
// stored.
type Image struct {
	disk     string
	size     int64 // bytes of the disk; the image has whole sectors
	with     Compression
	clusters []cluster

	plain  int64    // how many clusters are not compressed
	packed []uint16 // how many compressed ones lie in each cluster of the file that has some

	// Where the parts begin, in clusters of the file.
	refTable, refBlocks, level1, level2, data, compressed, end int64
}

// Plan reads a raw disk of size bytes and returns its image. The disk must stay as it is
// until the image is written. progress is told the bytes of the disk that are done.
func Plan(ctx context.Context, disk string, size int64, with Compression, progress func(done int64)) (*Image, error) {
	i := &Image{disk: disk, size: size, with: with}
	if size > clusterSize<<32 {
		return nil, fmt.Errorf("a disk of %d bytes: clusters of %d bytes make at most %d", size, clusterSize, int64(clusterSize)<<32)
	}
	at := int64(0)
	err := blocks.Each(ctx, disk, size, clusterSize, i.with.compressor, func(index int64, data []byte) error {
		c := cluster{uint32(index), uint32(min(len(data), clusterSize))}
		i.clusters = append(i.clusters, c)
		progress(min(size, (index+1)<<clusterBits))
		if c.length == clusterSize {
			i.plain++
			return nil
		}
		for n := at >> clusterBits; n<<clusterBits < at+int64(c.length); n++ {
			if n == int64(len(i.packed)) {
				i.packed = append(i.packed, 0)
			}
			i.packed[n]++
		}
		at += int64(c.length)
		return nil
	})
	if err != nil {
		return nil, err
	}
	i.place()
	return i, nil
}

// window is what compressed clusters may refer back to with Zlib, in bytes: QEMU reads no
// more.
const window = 1 << 12

// compressor compresses one cluster.
func (c Compression) compressor() (blocks.Compressor, error) {
	if c == Zlib {
		return deflate()
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(clusterSize), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	var b []byte
	return func(dst *bytes.Buffer, src []byte) error {
		b = z.EncodeAll(src, b[:0])
		_, err := dst.Write(b)
		return err
	}, nil
}

// deflate compresses one cluster without a header, which the format calls zlib.
func deflate() (blocks.Compressor, error) {
	z, err := flate.NewWriterWindow(nil, window)
	if err != nil {
		return nil, err
	}
	return func(dst *bytes.Buffer, src []byte) error {
		z.Reset(dst)
		_, err := z.Write(src)
		return errors.Join(err, z.Close())
	}, nil
}

// place says where the parts of the file are.
func (i *Image) place() {
	rest := units(i.entries(), tableEntries) + i.tables() + i.plain + int64(len(i.packed))
	blocks, tables := int64(0), int64(0)
	for { // the counts count themselves
		total := 1 + tables + blocks + rest
		if b := units(total, blockEntries); b == blocks {
			break
		} else {
			blocks, tables = b, units(b, tableEntries)
		}
	}
	i.refTable = 1
	i.refBlocks = i.refTable + tables
	i.level1 = i.refBlocks + blocks
	i.level2 = i.level1 + units(i.entries(), tableEntries)
	i.data = i.level2 + i.tables()
	i.compressed = i.data + i.plain
	i.end = i.compressed + int64(len(i.packed))
}

func units(n, size int64) int64 { return (n + size - 1) / size }

// entries is how many the table of the first level has.
func (i *Image) entries() int64 { return max(1, units(i.size, clusterSize*tableEntries)) }

// tables is how many tables of the second level there are.
func (i *Image) tables() (n int64) {
	last := int64(-1)
	for _, c := range i.clusters {
		if t := int64(c.index / tableEntries); t != last {
			last = t
			n++
		}
	}
	return n
}

// Size returns how many bytes Write writes.
func (i *Image) Size() int64 { return i.end << clusterBits }

// Write writes the image.
func (i *Image) Write(ctx context.Context, out io.Writer) error {
	w := &writer{Writer: bufio.NewWriterSize(out, 1<<20)}
	i.header(w)
	i.counts(w)
	i.levels(w)
	if err := i.plainData(ctx, w); err != nil {
		return err
	}
	if err := i.packedData(ctx, w); err != nil {
		return err
	}
	w.fill()
	if err := w.Flush(); err != nil {
		return err
	}
	if w.at != i.Size() {
		return fmt.Errorf("the image has %d bytes and not %d", w.at, i.Size())
	}
	return nil
}

// A writer counts what is written. Its errors are those of Flush.
type writer struct {
	*bufio.Writer
	at int64
}

func (w *writer) bytes(b []byte) {
	n, _ := w.Write(b) // Flush tells
	w.at += int64(n)
}

func (w *writer) uint64(n uint64) { w.bytes(binary.BigEndian.AppendUint64(w.AvailableBuffer(), n)) }

// fill writes zeros up to the end of the cluster.
func (w *writer) fill() { w.bytes(make([]byte, -w.at&(clusterSize-1))) }

func (i *Image) header(w *writer) {
	b := make([]byte, clusterSize)
	be := binary.BigEndian
	copy(b, "QFI\xfb")
	be.PutUint32(b[4:], 3) // version
	be.PutUint32(b[20:], clusterBits)
	be.PutUint64(b[24:], uint64(units(i.size, sector)*sector))
	be.PutUint32(b[36:], uint32(i.entries()))
	be.PutUint64(b[40:], uint64(i.level1<<clusterBits))
	be.PutUint64(b[48:], uint64(i.refTable<<clusterBits))
	be.PutUint32(b[56:], uint32(i.refBlocks-i.refTable))
	if i.with != Zlib {
		be.PutUint64(b[72:], featureCompress)
	}
	be.PutUint32(b[96:], 4) // the counts have 1<<4 bits
	be.PutUint32(b[100:], headerLength)
	b[104] = byte(i.with)
	w.bytes(b)
}

// counts writes how often each cluster of the file is referred to.
func (i *Image) counts(w *writer) {
	for n := i.refBlocks; n < i.level1; n++ {
		w.uint64(uint64(n << clusterBits))
	}
	w.fill()
	for n := range i.end {
		count := uint16(1)
		if n >= i.compressed {
			count = i.packed[n-i.compressed]
		}
		w.bytes(binary.BigEndian.AppendUint16(w.AvailableBuffer(), count))
	}
	w.fill()
}

// levels writes the tables that find the clusters of the disk.
func (i *Image) levels(w *writer) {
	table, at := int64(0), i.level2
	for _, c := range i.clusters {
		t := int64(c.index / tableEntries)
		if t < table { // it has one
			continue
		}
		for ; table < t; table++ {
			w.uint64(0)
		}
		w.uint64(uint64(at<<clusterBits) | flagCopied)
		table, at = t+1, at+1
	}
	w.bytes(make([]byte, i.level2<<clusterBits-w.at))
	plain, packed, next := i.data<<clusterBits, i.compressed<<clusterBits, int64(0)
	for _, c := range i.clusters {
		if int64(c.index)/tableEntries != next/tableEntries {
			w.fill()
			next = int64(c.index) / tableEntries * tableEntries
		}
		for ; next < int64(c.index); next++ {
			w.uint64(0)
		}
		next++
		if c.length == clusterSize {
			w.uint64(uint64(plain) | flagCopied)
			plain += clusterSize
			continue
		}
		last := packed + int64(c.length) - 1
		w.uint64(uint64(packed) | uint64(last/sector-packed/sector)<<sectorsShift | flagCompressed)
		packed += int64(c.length)
	}
	w.fill()
}

// plainData writes the clusters that are not compressed.
func (i *Image) plainData(ctx context.Context, w *writer) (err error) {
	if i.plain == 0 {
		return nil
	}
	f, err := os.Open(i.disk)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := make([]byte, clusterSize)
	for _, c := range i.clusters {
		if c.length < clusterSize {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.ReadAt(b, int64(c.index)<<clusterBits)
		if err != nil && err != io.EOF {
			return err
		}
		clear(b[n:])
		w.bytes(b)
	}
	return nil
}

// errChanged is the error of a disk that is not as it was when the image was planned.
var errChanged = errors.New("the disk has changed while it was read")

// packedData writes the others.
func (i *Image) packedData(ctx context.Context, w *writer) error {
	if len(i.packed) == 0 {
		return nil
	}
	n := 0
	err := blocks.Each(ctx, i.disk, i.size, clusterSize, i.with.compressor, func(index int64, data []byte) error {
		if n == len(i.clusters) || i.clusters[n] != (cluster{uint32(index), uint32(min(len(data), clusterSize))}) {
			return errChanged
		}
		n++
		if len(data) >= clusterSize {
			return nil
		}
		m, err := w.Write(data)
		w.at += int64(m)
		return err
	})
	if err == nil && n < len(i.clusters) {
		err = errChanged
	}
	return err
}
