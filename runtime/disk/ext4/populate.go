package ext4

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"bake.build/bake/runtime/disk/tree"
)

// Populate fills the empty file system at offset of img, as Format left it,
// with the tree. It reads the tree on the calling goroutine only and writes to
// img from others too, until it returns. progress, if not nil, is told the
// bytes of content read so far. A tree that does not fit gives a *NoSpace.
func Populate(ctx context.Context, img Image, offset int64, t *tree.Tree, progress func(done int64)) (err error) {
	v, err := open(img, offset)
	if err != nil {
		return err
	}
	p := &populator{
		v: v, t: t, progress: progress,
		blocks: &allocator{v: v}, inodes: &inodes{v: v},
		numbers: map[*tree.Inode]uint32{},
		out:     newWriter(ctx, v),
	}
	defer func() { err = errors.Join(err, p.out.close()) }()
	if err := p.number(); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	if err := p.write(ctx); err != nil {
		// What check took for an upper bound was not one.
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
	numbers map[*tree.Inode]uint32
	last    uint32 // the highest inode number
	free    int64  // bytes, before anything is written
	out     *writer
}

// lostFound is the directory for what fsck finds, which mke2fs makes.
const lostFound = "lost+found"

// isLostFound reports whether p is that directory. What fsck found on another
// disk is left out.
func isLostFound(p string, e *tree.Entry) bool { return p == lostFound && e.IsDir() }

// number gives every inode its number, in the order of the tree.
func (p *populator) number() error {
	p.numbers[p.t.Root.Inode] = rootInode
	p.last = firstFreeInode - 1
	return p.t.Walk(func(path string, e *tree.Entry) error {
		switch {
		case isLostFound(path, e):
			p.numbers[e.Inode] = lostFoundInode
			return fs.SkipDir
		case path == lostFound:
			return errors.New("lost+found is not a directory, and every ext4 has one of that name")
		case !e.IsDir() && e.Links > maxLinks:
			return fmt.Errorf("%s: it has %d names, ext4 has room for %d", path, e.Links, maxLinks)
		}
		if _, ok := p.numbers[e.Inode]; !ok {
			p.last++
			p.numbers[e.Inode] = p.last
		}
		return nil
	})
}

// check says early, and with figures, that the tree cannot fit.
func (p *populator) check() error {
	if have := uint64(p.v.groups) * uint64(p.v.inodesPerGroup); uint64(p.last) > have {
		return fmt.Errorf("the tree has %d files and the file system room for %d", p.last-lostFoundInode+1, have-lostFoundInode)
	}
	var free uint64
	for g := range p.v.groups {
		free += uint64(p.v.group(g).count(descFreeBlocks))
	}
	p.free = int64(free) * blockSize
	if need := Need(p.t); need > p.free {
		return &NoSpace{Need: need, Have: p.free}
	}
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
			n := 24
			for _, c := range e.Children {
				n += direntSize(c.Name)
			}
			blocks += int64(n/(blockSize-direntTail-256)) + 1
		case tree.TypeSymlink:
			if len(e.Target) >= fastSymlink {
				blocks++
			}
		}
		return nil
	})
	return blocks * blockSize
}

// write writes every inode and what belongs to it.
func (p *populator) write(ctx context.Context) error {
	written := map[*tree.Inode]bool{}
	return p.walk(ctx, ".", p.t.Root, rootInode, written)
}

func (p *populator) walk(ctx context.Context, path string, e *tree.Entry, parent uint32, written map[*tree.Inode]bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if isLostFound(path, e) {
		return nil
	}
	ino := p.numbers[e.Inode]
	if e.Links > 1 {
		if written[e.Inode] {
			return nil
		}
		written[e.Inode] = true
	}
	if err := p.inode(ino, parent, e); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, c := range e.Children {
		sub := c.Name
		if path != "." {
			sub = path + "/" + c.Name
		}
		if err := p.walk(ctx, sub, c, ino, written); err != nil {
			return err
		}
	}
	return nil
}
