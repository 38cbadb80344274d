package ext4

import "fmt"

// NoSpace says that a tree does not fit.
type NoSpace struct {
	Need int64 // bytes that the tree takes, at most
	Have int64 // bytes that are free
}

func (e *NoSpace) Error() string {
	return fmt.Sprintf("no space: the tree needs %d MiB and the file system has %d MiB free", (e.Need+1<<20-1)>>20, e.Have>>20)
}

// allocator hands out free blocks in rising order, one group at a time.
type allocator struct {
	v      *volume
	g      uint32
	bitmap []byte // of group g; nil before the first
	next   uint32 // where to look next in group g
	taken  uint32 // in group g
}

func getBit(b []byte, i uint32) bool { return b[i/8]&(1<<(i%8)) != 0 }
func setBit(b []byte, i uint32)      { b[i/8] |= 1 << (i % 8) }

// seek moves to the next free block.
func (a *allocator) seek() error {
	for {
		if a.bitmap == nil {
			if err := a.load(); err != nil {
				return err
			}
		}
		for a.next < a.v.blocksPerGroup && getBit(a.bitmap, a.next) {
			a.next++
		}
		if a.next < a.v.blocksPerGroup {
			return nil
		}
		if err := a.flush(); err != nil {
			return err
		}
		if a.g+1 == a.v.groups {
			return &NoSpace{}
		}
		a.g++
	}
}

// skip leaves n free blocks out.
func (a *allocator) skip(n uint64) error {
	for ; n > 0; n-- {
		if err := a.seek(); err != nil {
			return err
		}
		a.next++
	}
	return nil
}

// alloc returns a run of at least one and at most want free blocks.
func (a *allocator) alloc(want uint64) (start, n uint64, err error) {
	if err := a.seek(); err != nil {
		return 0, 0, err
	}
	first := a.next
	for a.next < a.v.blocksPerGroup && n < want && !getBit(a.bitmap, a.next) {
		setBit(a.bitmap, a.next)
		a.next++
		n++
	}
	a.taken += uint32(n)
	return uint64(a.g)*uint64(a.v.blocksPerGroup) + uint64(first), n, nil
}

// load reads the bitmap of group g, or works it out where mke2fs left it to
// its reader.
func (a *allocator) load() error {
	g := a.v.group(a.g)
	a.bitmap, a.next, a.taken = make([]byte, blockSize), 0, 0
	if !g.flag(flagBlockUninit) {
		if err := a.v.read(a.bitmap, g.block(descBlockBitmap)); err != nil {
			return fmt.Errorf("read block bitmap: %w", err)
		}
		return nil
	}
	// Bits past the end of a group that is smaller than its bitmap are set.
	for i := a.v.blocksPerGroup; i < 8*blockSize; i++ {
		setBit(a.bitmap, i)
	}
	first := uint64(a.g) * uint64(a.v.blocksPerGroup)
	mark := func(start, n uint64) {
		for b := start; b < start+n; b++ {
			if b >= first && b < first+uint64(a.v.blocksPerGroup) {
				setBit(a.bitmap, uint32(b-first))
			}
		}
	}
	if hasSuper(a.g) {
		gdt := (uint64(a.v.groups)*descSize + blockSize - 1) / blockSize
		mark(first, 1+gdt+uint64(le.Uint16(a.v.sb[sbReservedGDT:])))
	}
	// Bitmaps and inode tables may lie in another group than their own.
	table := (uint64(a.v.inodesPerGroup)*inodeSize + blockSize - 1) / blockSize
	for i := range a.v.groups {
		d := a.v.group(i)
		mark(d.block(descBlockBitmap), 1)
		mark(d.block(descInodeBitmap), 1)
		mark(d.block(descInodeTable), table)
	}
	return nil
}

// flush writes the bitmap of the present group.
func (a *allocator) flush() error {
	if a.bitmap == nil || a.taken == 0 {
		a.bitmap = nil
		return nil
	}
	g := a.v.group(a.g)
	g.clearFlag(flagBlockUninit)
	g.setCount(descFreeBlocks, g.count(descFreeBlocks)-a.taken)
	sum := crc32c(a.v.seed, a.bitmap[:a.v.blocksPerGroup/8])
	le.PutUint16(g[descBlockBitmapSum:], uint16(sum))
	le.PutUint16(g[descBlockBitmapSum+0x20:], uint16(sum>>16))
	if err := a.v.write(a.bitmap, g.block(descBlockBitmap)); err != nil {
		return fmt.Errorf("write block bitmap: %w", err)
	}
	a.bitmap = nil
	return nil
}

// inodes writes inodes in rising order, a group's table at a time.
type inodes struct {
	v      *volume
	g      uint32
	table  []byte // of group g; nil before the first
	bitmap []byte
	used   uint32 // inodes of group g that are written, from its first on
	dirs   uint32
	taken  uint32
}

// slot returns the place of inode ino for the caller to fill. It is valid
// until the next call.
func (t *inodes) slot(ino uint32) ([]byte, error) {
	g := (ino - 1) / t.v.inodesPerGroup
	if g >= t.v.groups {
		return nil, fmt.Errorf("no inode %d", ino)
	}
	if t.table == nil || g != t.g {
		if err := t.flush(); err != nil {
			return nil, err
		}
		if err := t.load(g); err != nil {
			return nil, err
		}
	}
	i := (ino - 1) % t.v.inodesPerGroup
	t.used = max(t.used, i+1)
	return t.table[i*inodeSize:][:inodeSize], nil
}

// take marks an inode as used that was free before.
func (t *inodes) take(ino uint32, dir bool) {
	setBit(t.bitmap, (ino-1)%t.v.inodesPerGroup)
	t.taken++
	if dir {
		t.dirs++
	}
}

func (t *inodes) load(g uint32) error {
	d := t.v.group(g)
	t.g, t.used, t.dirs, t.taken = g, 0, 0, 0
	t.table = make([]byte, t.v.inodesPerGroup*inodeSize)
	t.bitmap = make([]byte, blockSize)
	if d.flag(flagInodeUninit) {
		for i := t.v.inodesPerGroup; i < 8*blockSize; i++ {
			setBit(t.bitmap, i)
		}
		return nil
	}
	if err := t.v.read(t.bitmap, d.block(descInodeBitmap)); err != nil {
		return fmt.Errorf("read inode bitmap: %w", err)
	}
	t.used = t.v.inodesPerGroup - d.count(descItableUnused)
	if err := t.v.read(t.table[:t.used*inodeSize], d.block(descInodeTable)); err != nil {
		return fmt.Errorf("read inode table: %w", err)
	}
	return nil
}

func (t *inodes) flush() error {
	if t.table == nil {
		return nil
	}
	d := t.v.group(t.g)
	d.clearFlag(flagInodeUninit)
	d.setCount(descFreeInodes, d.count(descFreeInodes)-t.taken)
	d.setCount(descUsedDirs, d.count(descUsedDirs)+t.dirs)
	d.setCount(descItableUnused, t.v.inodesPerGroup-t.used)
	sum := crc32c(t.v.seed, t.bitmap[:t.v.inodesPerGroup/8])
	le.PutUint16(d[descInodeBitmapSum:], uint16(sum))
	le.PutUint16(d[descInodeBitmapSum+0x20:], uint16(sum>>16))
	if err := t.v.write(t.bitmap, d.block(descInodeBitmap)); err != nil {
		return fmt.Errorf("write inode bitmap: %w", err)
	}
	if err := t.v.write(t.table[:t.used*inodeSize], d.block(descInodeTable)); err != nil {
		return fmt.Errorf("write inode table: %w", err)
	}
	t.table = nil
	return nil
}
