package ext4

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"bake.build/bake/runtime/disk/tree"
)

// BlockSize is the size of a block in bytes.
const BlockSize = blockSize

// A Place is one step of the order in which inodes get their numbers and their
// blocks.
type Place struct {
	Inode  *tree.Inode // nil leaves one inode out,
	Blocks uint64      // and so many blocks

	// Names makes this the place of so many blocks for the names of the directory
	// Inode, and of no inode. What the directory does not need of them, or all of them
	// where there is none, is left out.
	Names uint64
}

// Populate fills the empty file system at offset of img, as Format left it,
// with the tree. Inodes get their numbers and their blocks in the order given,
// those that it does not name after these, in the order of the tree. Without an
// order, names of directories come first. Blocks that the order leaves out are taken
// where there is no room for them. Populate reads
// the tree on the calling goroutine only and writes to img from others too, until
// it returns. progress, if not nil, is told the bytes of content read so far. A
// tree that does not fit gives a *NoSpace.
func Populate(ctx context.Context, img Image, offset int64, t *tree.Tree, order []Place, progress func(done int64)) (err error) {
	v, err := open(img, offset)
	if err != nil {
		return err
	}
	p := &populator{
		v: v, t: t, progress: progress,
		blocks: &allocator{v: v}, inodes: &inodes{v: v},
		numbers: map[*tree.Inode]uint32{},
		dirs:    map[*tree.Inode]*dirBlocks{},
		out:     newWriter(ctx, v),
	}
	defer func() { err = errors.Join(err, p.out.close()) }()
	if err := p.collect(); err != nil {
		return err
	}
	if err := p.number(order); err != nil {
		return err
	}
	if err := p.write(ctx); err != nil {
		// What number took for an upper bound was not one.
		if full := (*NoSpace)(nil); errors.As(err, &full) {
			full.Need, full.Have = Need(t), p.free
		}
		return err
	}
	if err := errors.Join(p.blocks.flush(), p.inodes.flush()); err != nil {
		return err
	}
	return v.seal()
}

type populator struct {
	v        *volume
	t        *tree.Tree
	progress func(int64)
	done     int64

	blocks  *allocator
	inodes  *inodes
	items   []*item // what is written, one for each inode
	numbers map[*tree.Inode]uint32
	dirs    map[*tree.Inode]*dirBlocks
	steps   []step // in which blocks are given out
	last    uint32 // the highest inode number
	free    int64  // bytes, before anything is written
	gaps    bool   // there is room for what the order leaves out
	out     *writer
}

// An item is an inode with the first of its names.
type item struct {
	path   string
	e      *tree.Entry
	parent *tree.Inode // the directory that has it
}

// A step gives blocks to the content of a file, to the names of a directory, or
// leaves some out.
type step struct {
	it     *item // nil to leave blocks out
	blocks uint64
}

// lostFound is the directory for what fsck finds, which mke2fs makes.
const lostFound = "lost+found"

// isLostFound reports whether p is that directory. What fsck found on another
// disk is left out.
func isLostFound(p string, e *tree.Entry) bool { return p == lostFound && e.IsDir() }

// collect lists the inodes of the tree.
func (p *populator) collect() error {
	p.numbers[p.t.Root.Inode] = rootInode
	seen := map[*tree.Inode]bool{}
	var walk func(path string, e *tree.Entry, parent *tree.Inode) error
	walk = func(path string, e *tree.Entry, parent *tree.Inode) error {
		switch {
		case isLostFound(path, e):
			p.numbers[e.Inode] = lostFoundInode
			return nil
		case path == lostFound:
			return errors.New("lost+found is not a directory, and every ext4 has one of that name")
		case !e.IsDir() && e.Links > maxLinks:
			return fmt.Errorf("%s: it has %d names, ext4 has room for %d", path, e.Links, maxLinks)
		}
		if !seen[e.Inode] {
			seen[e.Inode] = true
			p.items = append(p.items, &item{path: path, e: e, parent: parent})
		}
		for _, c := range e.Children {
			sub := c.Name
			if path != "." {
				sub = path + "/" + c.Name
			}
			if err := walk(sub, c, e.Inode); err != nil {
				return err
			}
		}
		return nil
	}
	return walk(".", p.t.Root, p.t.Root.Inode)
}

// number gives every inode its number, and lists the steps.
func (p *populator) number(order []Place) error {
	if err := p.needs(); err != nil {
		return err
	}
	if order == nil {
		order = p.treeOrder()
	}
	if err := p.room(order); err != nil {
		return err
	}
	p.last = firstFreeInode - 1
	byInode := make(map[*tree.Inode]*item, len(p.items))
	for _, it := range p.items {
		byInode[it.e.Inode] = it
	}
	given := make(map[*tree.Inode]bool, len(p.items))
	give := func(in *tree.Inode) {
		it := byInode[in]
		if it == nil || given[in] {
			return // lost+found, or not of this tree
		}
		given[in] = true
		if _, ok := p.numbers[in]; !ok {
			p.last++
			p.numbers[in] = p.last
		}
		if !it.e.IsDir() {
			p.steps = append(p.steps, step{it: it})
		}
	}
	for _, place := range order {
		switch it := byInode[place.Inode]; {
		case place.Names > 0 && it != nil && it.e.IsDir():
			p.steps = append(p.steps, step{it, place.Names})
		case place.Names > 0:
			p.steps = append(p.steps, step{nil, place.Names})
		case place.Inode != nil:
			give(place.Inode)
		case p.gaps:
			p.last++
			p.steps = append(p.steps, step{nil, place.Blocks})
		}
	}
	for _, it := range p.items {
		give(it.e.Inode)
	}
	slices.SortFunc(p.items, func(a, b *item) int { return cmp.Compare(p.numbers[a.e.Inode], p.numbers[b.e.Inode]) })
	return nil
}

// needs finds out how many blocks each directory needs for its names.
func (p *populator) needs() error {
	for _, it := range p.items {
		if !it.e.IsDir() {
			continue
		}
		list, _, err := p.entries(p.numbers[it.e.Inode], it.e)
		if err != nil {
			return fmt.Errorf("%s: %w", it.path, err)
		}
		p.dirs[it.e.Inode] = &dirBlocks{need: p.v.hashSeed.dirBlocks(list)}
	}
	slot, err := p.inodes.slot(rootInode)
	if err != nil {
		return err
	}
	root := p.dirs[p.t.Root.Inode]
	root.x, err = rootBlock(slot)
	root.have = 1
	return err
}

// treeOrder is the order of the tree, with the names of directories first.
func (p *populator) treeOrder() (order []Place) {
	for _, it := range p.items {
		if it.e.IsDir() {
			order = append(order, Place{Inode: it.e.Inode, Names: p.dirs[it.e.Inode].need})
		}
	}
	for _, it := range p.items {
		order = append(order, Place{Inode: it.e.Inode})
	}
	return order
}

// room says early, and with figures, that the tree cannot fit. It finds out whether
// what the order leaves out fits beside it.
func (p *populator) room(order []Place) error {
	inodes, blocks := uint64(firstFreeInode-1+len(p.items)), uint64(0)
	if have := uint64(p.v.groups) * uint64(p.v.inodesPerGroup); inodes > have {
		return fmt.Errorf("the tree has %d files and the file system room for %d", len(p.items), have-lostFoundInode)
	}
	for _, place := range order {
		if blocks += place.Names; place.Inode == nil && place.Names == 0 {
			inodes++
			blocks += place.Blocks
		}
	}
	var free uint64
	for g := range p.v.groups {
		free += uint64(p.v.group(g).count(descFreeBlocks))
	}
	p.free = int64(free) * blockSize
	need := Need(p.t)
	if need > p.free {
		return &NoSpace{Need: need, Have: p.free}
	}
	blocks += uint64(need) / blockSize
	p.gaps = inodes <= uint64(p.v.groups)*uint64(p.v.inodesPerGroup) && blocks+blocks/8 <= free
	return nil
}

// Need returns how many bytes of blocks a tree takes, at most, beside inodes
// and what mke2fs lays out.
func Need(t *tree.Tree) int64 {
	var blocks int64
	seen := map[*tree.Inode]bool{}
	// The function never fails, so neither does Walk.
	_ = t.Walk(func(_ string, e *tree.Entry) error {
		if e.Links > 1 && seen[e.Inode] {
			return nil
		}
		if e.Links > 1 {
			seen[e.Inode] = true
		}
		if len(e.Xattrs) > 0 {
			if as, err := attrs(e.Xattrs); err == nil && attrSpace(as) > inodeXattrSpace {
				blocks++
			}
		}
		switch e.Type() {
		case tree.TypeRegular:
			n := (min(e.Size, e.Stored+blockSize) + blockSize - 1) / blockSize
			// A file with holes may have an extent for every other block.
			if e.Stored < e.Size {
				n += int64(extentBlocks(int(min(n, 1<<30))))
			}
			blocks += n
		case tree.TypeDir:
			n := ownEntries + direntSize(lostFound)
			for _, c := range e.Children {
				n += direntSize(c.Name)
			}
			if blocks++; n > direntsRoom {
				// An index divides names until they fit: no two leaves that were one
				// would be one again, but by chance.
				blocks += int64(2*n/(direntsRoom-264)) + 2
				blocks += int64(indexNodes(n / direntsRoom * 2))
			}
		case tree.TypeSymlink:
			if len(e.Target) >= fastSymlink {
				blocks++
			}
		}
		return nil
	})
	return blocks * blockSize
}

// A dirBlocks is what a directory has for its names.
type dirBlocks struct {
	x       extents
	have    uint64 // blocks
	need    uint64
	size    int64
	links   int
	indexed bool
}

// write writes every inode and what belongs to it. Directories come last: some get
// blocks in several places, and their names hold the numbers of all.
func (p *populator) write(ctx context.Context) error {
	for _, s := range p.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.step(s); err != nil {
			return err
		}
	}
	for _, it := range p.items {
		if !it.e.IsDir() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.names(it); err != nil {
			return fmt.Errorf("%s: %w", it.path, err)
		}
		if err := p.inode(p.numbers[it.e.Inode], it.e); err != nil {
			return fmt.Errorf("%s: %w", it.path, err)
		}
	}
	return nil
}

func (p *populator) step(s step) error {
	switch {
	case s.it != nil && !s.it.e.IsDir():
		if err := p.inode(p.numbers[s.it.e.Inode], s.it.e); err != nil {
			return fmt.Errorf("%s: %w", s.it.path, err)
		}
		return nil
	case s.it != nil:
		d := p.dirs[s.it.e.Inode]
		had := d.have
		if err := p.extend(d, min(d.need, d.have+s.blocks)); err != nil {
			return err
		}
		s.blocks -= d.have - had
	}
	if !p.gaps {
		return nil
	}
	return p.blocks.skip(s.blocks)
}
