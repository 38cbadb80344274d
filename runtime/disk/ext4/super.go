package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// An Image is what a file system is written to.
type Image interface {
	io.ReaderAt
	io.WriterAt
}

var le = binary.LittleEndian

// Offsets in the superblock.
const (
	sbInodes         = 0x00
	sbBlocksLo       = 0x04
	sbFreeBlocksLo   = 0x0c
	sbFreeInodes     = 0x10
	sbLogBlockSize   = 0x18
	sbBlocksPerGroup = 0x20
	sbInodesPerGroup = 0x28
	sbMagic          = 0x38
	sbInodeSize      = 0x58
	sbIncompat       = 0x60
	sbROCompat       = 0x64
	sbUUID           = 0x68
	sbReservedGDT    = 0xce
	sbHashSeed       = 0xec
	sbHashVersion    = 0xfc
	sbDescSize       = 0xfe
	sbBlocksHi       = 0x150
	sbFreeBlocksHi   = 0x158
	sbFlags          = 0x160
	sbChecksum       = 0x3fc
)

const (
	incompatCsumSeed   = 0x2000
	incompat64bit      = 0x80
	roCompatMetaCsum   = 0x400
	roCompatSparse     = 0x1
	descSize           = 64
	superOffset        = 1024
	magic              = 0xef53
	firstFreeInode     = 12 // 11 is lost+found
	rootInode          = 2
	lostFoundInode     = 11
	flagInodeUninit    = 1
	flagBlockUninit    = 2
	flagInodeZeroed    = 4 // the table of inodes is zeros where it is not used
	flagSignedHash     = 1 // in the superblock: names are hashed as signed characters
	flagUnsignedHash   = 2
	descBlockBitmap    = 0x00
	descInodeBitmap    = 0x04
	descInodeTable     = 0x08
	descFreeBlocks     = 0x0c
	descFreeInodes     = 0x0e
	descUsedDirs       = 0x10
	descFlags          = 0x12
	descBlockBitmapSum = 0x18
	descInodeBitmapSum = 0x1a
	descItableUnused   = 0x1c
	descChecksum       = 0x1e
)

// A volume is the file system that is being filled.
type volume struct {
	img  Image
	off  int64 // where it begins in img
	sb   []byte
	desc []byte // all group descriptors
	seed uint32 // of checksums

	hashSeed hashSeed // of names

	blocks         uint64
	blocksPerGroup uint32
	inodesPerGroup uint32
	groups         uint32
}

func open(img Image, offset int64) (*volume, error) {
	v := &volume{img: img, off: offset, sb: make([]byte, 1024)}
	if _, err := img.ReadAt(v.sb, offset+superOffset); err != nil {
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	if le.Uint16(v.sb[sbMagic:]) != magic {
		return nil, errors.New("read superblock: not an ext4 file system")
	}
	incompat, ro := le.Uint32(v.sb[sbIncompat:]), le.Uint32(v.sb[sbROCompat:])
	if le.Uint32(v.sb[sbLogBlockSize:]) != 2 || le.Uint16(v.sb[sbInodeSize:]) != inodeSize ||
		le.Uint16(v.sb[sbDescSize:]) != descSize || incompat&incompat64bit == 0 || incompat&incompatCsumSeed != 0 ||
		v.sb[sbHashVersion] != hashHalfMD4 ||
		ro&roCompatMetaCsum == 0 || ro&roCompatSparse == 0 {
		return nil, errors.New("read superblock: mke2fs made another layout than it was asked for")
	}
	v.blocks = uint64(le.Uint32(v.sb[sbBlocksLo:])) | uint64(le.Uint32(v.sb[sbBlocksHi:]))<<32
	v.blocksPerGroup = le.Uint32(v.sb[sbBlocksPerGroup:])
	v.inodesPerGroup = le.Uint32(v.sb[sbInodesPerGroup:])
	if v.blocksPerGroup == 0 || v.blocksPerGroup > 8*blockSize || v.inodesPerGroup == 0 || v.inodesPerGroup > 8*blockSize {
		return nil, errors.New("read superblock: bad sizes of block groups")
	}
	v.groups = uint32((v.blocks + uint64(v.blocksPerGroup) - 1) / uint64(v.blocksPerGroup))
	v.seed = crc32c(^uint32(0), v.sb[sbUUID:sbUUID+16])
	v.hashSeed = seedOf(v.sb[sbHashSeed:])
	v.desc = make([]byte, int(v.groups)*descSize)
	if err := v.read(v.desc, 1); err != nil {
		return nil, fmt.Errorf("read group descriptors: %w", err)
	}
	return v, nil
}

func (v *volume) read(p []byte, block uint64) error {
	_, err := v.img.ReadAt(p, v.off+int64(block)*blockSize)
	return err
}

func (v *volume) write(p []byte, block uint64) error {
	_, err := v.img.WriteAt(p, v.off+int64(block)*blockSize)
	return err
}

// A group is a block group's descriptor.
type group []byte

func (v *volume) group(g uint32) group { return v.desc[g*descSize:][:descSize] }

// Fields of a descriptor are split: the high half lies 0x20 bytes above, at
// 0x2c for the first of the 16-bit ones.
func (g group) block(at int) uint64 {
	return uint64(le.Uint32(g[at:])) | uint64(le.Uint32(g[at+0x20:]))<<32
}

func (g group) count(at int) uint32 {
	return uint32(le.Uint16(g[at:])) | uint32(le.Uint16(g[hiHalf(at):]))<<16
}

func (g group) setCount(at int, n uint32) {
	le.PutUint16(g[at:], uint16(n))
	le.PutUint16(g[hiHalf(at):], uint16(n>>16))
}

func hiHalf(at int) int {
	if at == descItableUnused {
		return 0x32
	}
	return at + 0x20
}

func (g group) flag(f uint16) bool { return le.Uint16(g[descFlags:])&f != 0 }

func (g group) setFlag(f uint16) { le.PutUint16(g[descFlags:], le.Uint16(g[descFlags:])|f) }

func (g group) clearFlag(f uint16) {
	le.PutUint16(g[descFlags:], le.Uint16(g[descFlags:])&^f)
}

// seal writes the superblock and the group descriptors back with their counts
// of what is free and their checksums.
func (v *volume) seal() error {
	var freeBlocks uint64
	var freeInodes uint32
	for i := range v.groups {
		g := v.group(i)
		// The image was zeros, so the kernel need not write them at the first boot.
		g.setFlag(flagInodeZeroed)
		freeBlocks += uint64(g.count(descFreeBlocks))
		freeInodes += g.count(descFreeInodes)
		sum := crc32cUint32(v.seed, i)
		sum = crc32c(sum, g[:descChecksum])
		sum = crc32c(sum, []byte{0, 0})
		sum = crc32c(sum, g[descChecksum+2:])
		le.PutUint16(g[descChecksum:], uint16(sum))
	}
	if err := v.write(v.desc, 1); err != nil {
		return fmt.Errorf("write group descriptors: %w", err)
	}
	le.PutUint32(v.sb[sbFreeBlocksLo:], uint32(freeBlocks))
	le.PutUint32(v.sb[sbFreeBlocksHi:], uint32(freeBlocks>>32))
	le.PutUint32(v.sb[sbFreeInodes:], freeInodes)
	// mke2fs says here what a character is on the host that it runs on.
	le.PutUint32(v.sb[sbFlags:], le.Uint32(v.sb[sbFlags:])&^flagUnsignedHash|flagSignedHash)
	le.PutUint32(v.sb[sbChecksum:], crc32c(^uint32(0), v.sb[:sbChecksum]))
	if _, err := v.img.WriteAt(v.sb, v.off+superOffset); err != nil {
		return fmt.Errorf("write superblock: %w", err)
	}
	return nil
}

// hasSuper reports whether group g holds a copy of the superblock: 0, 1 and
// the powers of 3, 5 and 7.
func hasSuper(g uint32) bool {
	if g <= 1 {
		return true
	}
	for _, base := range []uint32{3, 5, 7} {
		n := g
		for n%base == 0 {
			n /= base
		}
		if n == 1 {
			return true
		}
	}
	return false
}
