package vdi

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"

	"bake.build/bake/internal/sparse"
)

// Write writes the first size bytes of disk, a raw image, as a whole medium to out, which
// is empty. id is its UUID, and change that of its last change: neither may be zero.
// Blocks of zeros take no room. progress may be nil.
func Write(ctx context.Context, out *os.File, disk *os.File, size int64, id, change [16]byte, progress func(done int64)) error {
	blocks := (size + blockSize - 1) / blockSize
	data := align(blockSize + 4*blocks)
	table := bytes.Repeat([]byte{0xff}, int(4*blocks))
	buf, empty := make([]byte, blockSize), make([]byte, blockSize)
	next, done := uint32(0), int64(-1)
	err := sparse.Each(disk, size, func(start, end int64) error {
		for n := max(start/blockSize, done+1); n*blockSize < end; n++ {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			clear(buf)
			if got, err := disk.ReadAt(buf[:min(blockSize, size-n*blockSize)], n*blockSize); err != nil && (err != io.EOF || got == 0) {
				return err
			}
			if done = n; bytes.Equal(buf, empty) {
				continue
			}
			if _, err := out.WriteAt(buf, data+int64(next)*blockSize); err != nil {
				return err
			}
			binary.LittleEndian.PutUint32(table[4*n:], next)
			if next++; progress != nil {
				progress(min(size, (n+1)*blockSize))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := out.WriteAt(table, blockSize); err != nil {
		return err
	}
	if _, err := out.WriteAt(header(size, blocks, data, next, id, change), 0); err != nil {
		return err
	}
	return out.Truncate(data + int64(next)*blockSize)
}

// align rounds up to where VirtualBox begins its parts.
func align(n int64) int64 { return (n + blockSize - 1) / blockSize * blockSize }

// header is that of a whole medium that grows. VirtualBox refuses one whose logical
// geometry, which is not known, has no sectors of 512 bytes: see vdiValidateHeader in its
// VDI.cpp.
func header(size, blocks, data int64, allocated uint32, id, change [16]byte) []byte {
	b := make([]byte, headerSize)
	copy(b, "<<< Oracle VM VirtualBox Disk Image >>>\n")
	for at, value := range map[int]uint32{
		signatureAt: signature, versionAt: version, sizeAt: headerSize - sizeAt, kindAt: kindGrowing,
		mapAt: blockSize, dataAt: uint32(data), sectorAt: 512, logicalAt: 512, blockAt: blockSize,
		blocksAt: uint32(blocks), allocatedAt: allocated,
	} {
		binary.LittleEndian.PutUint32(b[at:], value)
	}
	binary.LittleEndian.PutUint64(b[diskAt:], uint64(size))
	copy(b[imageAt:], id[:])
	copy(b[changeAt:], change[:])
	return b
}
