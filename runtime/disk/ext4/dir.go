package ext4

import (
	"fmt"

	"bake.build/bake/runtime/disk/tree"
)

const direntTail = 12 // bytes at the end of a block of names, for its checksum

func direntSize(name string) int { return 8 + pad4(len(name)) }

// A dirent is one name of a directory.
type dirent struct {
	ino  uint32
	kind byte
	name string
}

func direntKind(in *tree.Inode) byte {
	switch in.Type() {
	case tree.TypeRegular:
		return 1
	case tree.TypeDir:
		return 2
	case tree.TypeChar:
		return 3
	case tree.TypeBlock:
		return 4
	case tree.TypePipe:
		return 5
	case tree.TypeSocket:
		return 6
	case tree.TypeSymlink:
		return 7
	}
	return 0
}

// directory writes the names of a directory, into the blocks that it has and
// new ones, and returns its blocks, size and count of links.
func (p *populator) directory(ino, parent uint32, e *tree.Entry, has extents, seed uint32) (x extents, size int64, links int, err error) {
	list := []dirent{{ino, 2, "."}, {parent, 2, ".."}}
	links = 2
	if ino == rootInode && p.t.Lookup(lostFound) == nil {
		list = append(list, dirent{lostFoundInode, 2, lostFound})
		links++
	}
	for _, c := range e.Children {
		if len(c.Name) > 255 {
			return nil, 0, 0, fmt.Errorf("name %q is longer than 255 bytes", c.Name)
		}
		if c.IsDir() {
			links++
		}
		list = append(list, dirent{p.numbers[c.Inode], direntKind(c.Inode), c.Name})
	}
	if links >= maxLinks {
		links = 1
	}
	data := direntBlocks(list, seed)
	first := min(len(has), 1) * blockSize
	if len(has) > 0 {
		if err := p.v.write(data[:first], has[0].start); err != nil {
			return nil, 0, 0, fmt.Errorf("write directory: %w", err)
		}
	}
	more, err := p.put(data[first:])
	if err != nil {
		return nil, 0, 0, err
	}
	x = append(x, has...)
	for _, m := range more {
		x.add(m.logical+uint32(first/blockSize), m.start, uint64(m.n))
	}
	return x, int64(len(data)), links, nil
}

// direntBlocks lays names out in blocks with their checksums.
func direntBlocks(list []dirent, seed uint32) []byte {
	var out, b []byte
	at, last := 0, 0
	const room = blockSize - direntTail
	finish := func() {
		if b == nil {
			return
		}
		le.PutUint16(b[last+4:], uint16(room-last))
		le.PutUint16(b[room+4:], direntTail)
		b[room+7] = 0xde
		le.PutUint32(b[room+8:], crc32c(seed, b[:room]))
		out = append(out, b...)
	}
	for _, d := range list {
		n := direntSize(d.name)
		if b == nil || at+n > room {
			finish()
			b, at = make([]byte, blockSize), 0
		}
		le.PutUint32(b[at:], d.ino)
		le.PutUint16(b[at+4:], uint16(n))
		b[at+6], b[at+7] = byte(len(d.name)), d.kind
		copy(b[at+8:], d.name)
		last, at = at, at+n
	}
	finish()
	return out
}
