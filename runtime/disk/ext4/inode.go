package ext4

import (
	"errors"
	"fmt"

	"bake.build/bake/runtime/disk/tree"
)

// Offsets in an inode.
const (
	inMode       = 0x00
	inUIDLo      = 0x02
	inSizeLo     = 0x04
	inAtime      = 0x08
	inCtime      = 0x0c
	inMtime      = 0x10
	inGIDLo      = 0x18
	inLinks      = 0x1a
	inBlocksLo   = 0x1c
	inFlags      = 0x20
	inBlock      = 0x28
	inXattrLo    = 0x68
	inSizeHi     = 0x6c
	inBlocksHi   = 0x74
	inXattrHi    = 0x76
	inUIDHi      = 0x78
	inGIDHi      = 0x7a
	inChecksumLo = 0x7c
	inExtraSize  = 0x80
	inChecksumHi = 0x82
	inCtimeExtra = 0x84
	inMtimeExtra = 0x88
	inAtimeExtra = 0x8c
	inCrtime     = 0x90
	inCrExtra    = 0x94
)

const (
	flagExtents = 0x80000
	fastSymlink = 60    // bytes from which on a target needs a block
	maxLinks    = 65000 // names of a file; a directory with more counts as having one, and then has an index
	maxFileSize = int64(blockSize) << 32
)

// inodeSeed is that of the checksums of an inode and of its blocks.
func (p *populator) inodeSeed(ino uint32) uint32 {
	return crc32cUint32(crc32cUint32(p.v.seed, ino), 0) // generation 0
}

// inode writes one inode with its content or target. The names of a directory are
// written.
func (p *populator) inode(ino uint32, e *tree.Entry) error {
	slot, err := p.inodes.slot(ino)
	if err != nil {
		return err
	}
	var x extents
	if ino == rootInode {
		clear(slot)
	} else {
		p.inodes.take(ino, e.IsDir())
	}
	seed := p.inodeSeed(ino)
	size, links, flags := int64(0), e.Links, uint32(0)
	mapped := true
	switch e.Type() {
	case tree.TypeRegular:
		size = e.Size
		if size > maxFileSize {
			return errors.New("ext4 has no files over 16 TiB")
		}
		x, err = p.content(e.Inode)
	case tree.TypeDir:
		d := p.dirs[e.Inode]
		x, size, links = d.x, d.size, d.links
		if d.indexed {
			flags |= flagIndex
		}
	case tree.TypeSymlink:
		size = int64(len(e.Target))
		if mapped = size >= fastSymlink; mapped {
			x, err = p.put([]byte(e.Target))
		} else {
			copy(slot[inBlock:], e.Target)
		}
	case tree.TypeBlock, tree.TypeChar:
		mapped = false
		putDevice(slot[inBlock:], e.Major, e.Minor)
	default:
		mapped = false
	}
	if err != nil {
		return err
	}
	sectors := uint64(0)
	for _, r := range x {
		sectors += uint64(r.n) * (blockSize / 512)
	}
	if mapped {
		flags |= flagExtents
		n, err := p.writeExtents(slot[inBlock:][:60], x, seed)
		if err != nil {
			return err
		}
		sectors += n * (blockSize / 512)
	}
	le.PutUint32(slot[inFlags:], flags)
	xb, err := p.writeXattrs(slot, e.Xattrs)
	if err != nil {
		return err
	}
	if xb != 0 {
		le.PutUint32(slot[inXattrLo:], uint32(xb))
		le.PutUint16(slot[inXattrHi:], uint16(xb>>32))
		sectors += blockSize / 512
	}
	putMeta(slot, e.Inode, size, links, sectors)
	sum := crc32c(seed, slot)
	le.PutUint16(slot[inChecksumLo:], uint16(sum))
	le.PutUint16(slot[inChecksumHi:], uint16(sum>>16))
	return nil
}

func putMeta(b []byte, in *tree.Inode, size int64, links int, sectors uint64) {
	le.PutUint16(b[inMode:], uint16(in.Mode))
	le.PutUint16(b[inUIDLo:], uint16(in.UID))
	le.PutUint16(b[inUIDHi:], uint16(in.UID>>16))
	le.PutUint16(b[inGIDLo:], uint16(in.GID))
	le.PutUint16(b[inGIDHi:], uint16(in.GID>>16))
	le.PutUint32(b[inSizeLo:], uint32(size))
	le.PutUint32(b[inSizeHi:], uint32(size>>32))
	le.PutUint16(b[inLinks:], uint16(links))
	le.PutUint32(b[inBlocksLo:], uint32(sectors))
	le.PutUint16(b[inBlocksHi:], uint16(sectors>>32))
	le.PutUint16(b[inExtraSize:], inodeExtra)
	// Two bits beside the nanoseconds carry times past 2038.
	extra := in.Nsec<<2 | uint32((in.Sec-int64(int32(in.Sec)))>>32)&3
	for _, at := range [][2]int{{inAtime, inAtimeExtra}, {inCtime, inCtimeExtra}, {inMtime, inMtimeExtra}, {inCrtime, inCrExtra}} {
		le.PutUint32(b[at[0]:], uint32(in.Sec))
		le.PutUint32(b[at[1]:], extra)
	}
}

// putDevice writes a device number in the old form when it fits, as the kernel
// does.
func putDevice(b []byte, major, minor uint32) {
	if major < 256 && minor < 256 {
		le.PutUint32(b, major<<8|minor)
		return
	}
	le.PutUint32(b[4:], minor&0xff|major<<8|(minor&^0xff)<<12)
}

// rootBlock returns the block that mke2fs gave the root directory.
func rootBlock(inode []byte) (extents, error) {
	b := inode[inBlock:]
	if le.Uint32(inode[inFlags:])&flagExtents == 0 || le.Uint16(b) != extentMagic || le.Uint16(b[2:]) != 1 || le.Uint16(b[6:]) != 0 {
		return nil, errors.New("mke2fs made another root directory than expected")
	}
	n := le.Uint16(b[16:])
	start := uint64(le.Uint32(b[20:])) | uint64(le.Uint16(b[18:]))<<32
	return extents{{0, uint32(n), start}}, nil
}

// put stores data in new blocks.
func (p *populator) put(data []byte) (x extents, err error) {
	logical := uint32(0)
	for len(data) > 0 {
		start, n, err := p.blocks.alloc(uint64(len(data)+blockSize-1) / blockSize)
		if err != nil {
			return nil, err
		}
		piece := data[:min(len(data), int(n)*blockSize)]
		if err := p.v.write(piece, start); err != nil {
			return nil, fmt.Errorf("write: %w", err)
		}
		x.add(logical, start, n)
		logical += uint32(n)
		data = data[len(piece):]
	}
	return x, nil
}
