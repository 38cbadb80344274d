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

// entries lists the names of a directory, without those of itself and its parent,
// and counts the links to it.
func (p *populator) entries(ino uint32, e *tree.Entry) (list []dirent, links int, err error) {
	links = 2
	if ino == rootInode && p.t.Lookup(lostFound) == nil {
		list = append(list, dirent{lostFoundInode, 2, lostFound})
		links++
	}
	for _, c := range e.Children {
		if len(c.Name) > 255 {
			return nil, 0, fmt.Errorf("name %q is longer than 255 bytes", c.Name)
		}
		if c.IsDir() {
			links++
		}
		list = append(list, dirent{p.numbers[c.Inode], direntKind(c.Inode), c.Name})
	}
	if links > maxLinks {
		links = 1
	}
	return list, links, nil
}

// names writes the names of a directory into the blocks that it has got, and new
// ones where these do not do.
func (p *populator) names(it *item) (err error) {
	ino, d := p.numbers[it.e.Inode], p.dirs[it.e.Inode]
	list, links, err := p.entries(ino, it.e)
	if err != nil {
		return err
	}
	data, indexed := p.v.hashSeed.directory(ino, p.numbers[it.parent], list, p.inodeSeed(ino))
	d.size, d.links, d.indexed = int64(len(data)), links, indexed
	if err := p.extend(d, uint64(len(data)/blockSize)); err != nil {
		return err
	}
	for _, x := range d.x {
		from := int(x.logical) * blockSize
		if err := p.v.write(data[from:from+int(x.n)*blockSize], x.start); err != nil {
			return fmt.Errorf("write directory: %w", err)
		}
	}
	return nil
}

// extend gives a directory the blocks that it needs to have n.
func (p *populator) extend(d *dirBlocks, n uint64) error {
	for d.have < n {
		start, got, err := p.blocks.alloc(n - d.have)
		if err != nil {
			return err
		}
		d.x.add(uint32(d.have), start, got)
		d.have += got
	}
	return nil
}

// directory lays out the blocks of a directory.
func (s hashSeed) directory(ino, parent uint32, list []dirent, seed uint32) (data []byte, indexed bool) {
	own := []dirent{{ino, 2, "."}, {parent, 2, ".."}}
	if direntsSize(list) > direntsRoom-ownEntries {
		l := leaves(s, list)
		if _, ok := indexedBlocks(len(l)); ok {
			return indexBlocks(ino, parent, l, seed), true
		}
	}
	return direntBlocks(append(own, list...), seed), false
}

func direntsSize(list []dirent) (n int) {
	for _, d := range list {
		n += direntSize(d.name)
	}
	return n
}

// A Seed is what the hashes of names in directories follow from: a UUID.
type Seed [16]byte

// DirBlocks returns how many blocks a directory with the names takes. With more
// names it never takes fewer.
func (s Seed) DirBlocks(names []string) uint64 {
	list := make([]dirent, len(names))
	for i, name := range names {
		list[i].name = name
	}
	return seedOf(s[:]).dirBlocks(list)
}

func (s hashSeed) dirBlocks(list []dirent) uint64 {
	size := direntsSize(list)
	if size <= direntsRoom-ownEntries {
		return 1
	}
	n, ok := indexedBlocks(len(leaves(s, list)))
	if !ok {
		n = len(direntBlocks(list, 0))/blockSize + 1
	}
	return uint64(n)
}

// putDirent writes a name that takes n bytes.
func putDirent(b []byte, d dirent, n int) {
	le.PutUint32(b, d.ino)
	le.PutUint16(b[4:], uint16(n))
	b[6], b[7] = byte(len(d.name)), d.kind
	copy(b[8:], d.name)
}

// direntBlocks lays names out in blocks with their checksums.
func direntBlocks(list []dirent, seed uint32) []byte {
	var out, b []byte
	at, last := 0, 0
	finish := func() {
		if b == nil {
			return
		}
		le.PutUint16(b[last+4:], uint16(direntsRoom-last))
		le.PutUint16(b[direntsRoom+4:], direntTail)
		b[direntsRoom+7] = 0xde
		le.PutUint32(b[direntsRoom+8:], crc32c(seed, b[:direntsRoom]))
		out = append(out, b...)
	}
	for _, d := range list {
		n := direntSize(d.name)
		if b == nil || at+n > direntsRoom {
			finish()
			b, at = make([]byte, blockSize), 0
		}
		putDirent(b[at:], d, n)
		last, at = at, at+n
	}
	finish()
	return out
}
