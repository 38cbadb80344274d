package vdi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Places in the header, and what stands there.
const (
	signatureAt = 0x40
	versionAt   = 0x44
	sizeAt      = 0x48 // of the header from here on
	kindAt      = 0x4c
	mapAt       = 0x154
	dataAt      = 0x158
	sectorAt    = 0x168 // of the legacy geometry, the last of its numbers
	diskAt      = 0x170
	blockAt     = 0x178
	extraAt     = 0x17c // bytes before each block
	blocksAt    = 0x180
	allocatedAt = 0x184
	imageAt     = 0x188 // UUIDs: of the medium, of its last change, of its parent, of the parent's last change
	changeAt    = 0x198
	parentAt    = 0x1a8
	logicalAt   = 0x1d4 // of the logical geometry, the last of its numbers

	headerSize = 0x1d8
	signature  = 0xbeda107f
	version    = 0x00010001

	kindGrowing, kindFixed, kindDiff = 1, 2, 4
)

// Entries of a map that are no block's place.
const (
	unallocated = 0xffffffff // the parent's
	zero        = 0xfffffffe
)

// What bounds a medium.
const (
	blockSize = 1 << 20 // of what is written
	mostBlock = 64 << 20
	mostCount = 1 << 26 // of blocks
)

// A Header is what the header of a medium says.
type Header struct {
	Size   int64    // of the disk in bytes
	ID     [16]byte // of the medium
	Parent [16]byte // zero for a whole one

	kind      uint32
	blockSize int64
	extra     int64
	blocks    int64
	mapOffset int64
	data      int64
}

// ReadHeader reads the header of a medium, and refuses what makes no sense.
func ReadHeader(r io.ReaderAt) (*Header, error) {
	var b [headerSize]byte
	if n, err := r.ReadAt(b[:], 0); n < len(b) {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint32(b[signatureAt:]) != signature {
		return nil, errors.New("is not a VDI")
	}
	if v := le.Uint32(b[versionAt:]); v>>16 != 1 || v&0xffff == 0 {
		return nil, fmt.Errorf("has the version %d.%d of VDI: want 1.1", v>>16, v&0xffff)
	}
	h := &Header{
		Size: int64(le.Uint64(b[diskAt:])), kind: le.Uint32(b[kindAt:]),
		blockSize: int64(le.Uint32(b[blockAt:])), extra: int64(le.Uint32(b[extraAt:])), blocks: int64(le.Uint32(b[blocksAt:])),
		mapOffset: int64(le.Uint32(b[mapAt:])), data: int64(le.Uint32(b[dataAt:])),
	}
	copy(h.ID[:], b[imageAt:])
	copy(h.Parent[:], b[parentAt:])
	switch {
	case h.kind != kindGrowing && h.kind != kindFixed && h.kind != kindDiff:
		return nil, fmt.Errorf("is a VDI of the kind %d", h.kind)
	case h.blockSize < 512 || h.blockSize > mostBlock || h.blockSize&(h.blockSize-1) != 0:
		return nil, errors.New("is damaged: the size of its blocks makes no sense")
	case h.extra > mostBlock || h.blocks > mostCount || h.Size < 0 || h.Size > h.blocks*h.blockSize || h.mapOffset < headerSize || h.data < h.mapOffset+4*h.blocks:
		return nil, errors.New("is damaged: its sizes make no sense")
	}
	return h, nil
}

// HeaderOf reads the header of the file at path.
func HeaderOf(path string) (h *Header, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if h, err = ReadHeader(f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}
