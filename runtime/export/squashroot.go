package export

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"bake.build/bake/runtime/disk/tree"
)

// Places in a squashfs image, after "Squashfs Binary Format" 4.0.
const (
	squashSuper     = 96
	squashIDs       = 26 // number of entries of the id table, 16 bits
	squashRoot      = 32 // reference to the root's inode, 64 bits
	squashIDTable   = 48
	squashInodes    = 64
	squashPlain     = 0x8000 // in a metadata block's header: it is not compressed
	squashBlockSize = 8192   // of metadata
)

// setSquashRoot gives the root directory of an image its mode, owner and time:
// mksquashfs takes those of no archive. The image's inodes and ids are not
// compressed.
func setSquashRoot(path string, root *tree.Entry, mode uint32) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	super := make([]byte, squashSuper)
	if _, err := f.ReadAt(super, 0); err != nil {
		return err
	}
	le := binary.LittleEndian
	var owner [2]uint16
	for i, id := range []uint32{root.UID, root.GID} {
		if owner[i], err = squashID(f, int64(le.Uint64(super[squashIDTable:])), int(le.Uint16(super[squashIDs:])), id); err != nil {
			return err
		}
	}
	ref := le.Uint64(super[squashRoot:])
	// The fields of an inode of any type: type, mode, owner, group, time.
	inode := le.AppendUint16(nil, uint16(mode))
	inode = le.AppendUint16(inode, owner[0])
	inode = le.AppendUint16(inode, owner[1])
	inode = le.AppendUint32(inode, uint32(root.Sec))
	block, at := int64(le.Uint64(super[squashInodes:])+ref>>16), int64(ref&0xffff)+2
	for i := range inode {
		in, off := block, at+int64(i)
		if off >= squashBlockSize {
			in, off = block+2+squashBlockSize, off-squashBlockSize
		}
		if err := plainBlock(f, in); err != nil {
			return err
		}
		if _, err := f.WriteAt(inode[i:i+1], in+2+off); err != nil {
			return err
		}
	}
	return nil
}

func plainBlock(f *os.File, at int64) error {
	header := make([]byte, 2)
	if _, err := f.ReadAt(header, at); err != nil {
		return err
	}
	if binary.LittleEndian.Uint16(header)&squashPlain == 0 {
		return errors.New("mksquashfs has compressed what it was told not to")
	}
	return nil
}

// squashID returns the index of an owner's number in the table of ids.
func squashID(f *os.File, table int64, n int, id uint32) (uint16, error) {
	const perBlock = squashBlockSize / 4
	b := make([]byte, 8)
	for i := range n {
		if _, err := f.ReadAt(b, table+int64(i/perBlock)*8); err != nil {
			return 0, err
		}
		block := int64(binary.LittleEndian.Uint64(b))
		if err := plainBlock(f, block); err != nil {
			return 0, err
		}
		if _, err := f.ReadAt(b[:4], block+2+int64(i%perBlock)*4); err != nil {
			return 0, err
		}
		if binary.LittleEndian.Uint32(b) == id {
			return uint16(i), nil
		}
	}
	return 0, fmt.Errorf("the root directory belongs to %d, whom no other file of the image belongs to: squashfs is made by a program that cannot write that", id)
}
