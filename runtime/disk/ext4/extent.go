package ext4

import "fmt"

// An extent maps a run of a file's blocks to a run of the volume's.
type extent struct {
	logical uint32
	n       uint32
	start   uint64
}

const (
	maxExtent      = 32768 // blocks that one extent can hold
	extentMagic    = 0xf30a
	extentsInInode = 4
	extentsInBlock = (blockSize - 12) / 12
)

// extents collects a file's extents, in rising order.
type extents []extent

func (x *extents) add(logical uint32, start, n uint64) {
	for n > 0 {
		if k := len(*x) - 1; k >= 0 {
			last := &(*x)[k]
			room := uint64(maxExtent - last.n)
			if last.logical+last.n == logical && last.start+uint64(last.n) == start && room > 0 {
				m := min(room, n)
				last.n += uint32(m)
				logical, start, n = logical+uint32(m), start+m, n-m
				continue
			}
		}
		m := min(uint64(maxExtent), n)
		*x = append(*x, extent{logical, uint32(m), start})
		logical, start, n = logical+uint32(m), start+m, n-m
	}
}

// blocks returns how many blocks a tree of so many extents takes beside the
// inode.
func extentBlocks(extents int) (n int) {
	for extents > extentsInInode {
		extents = (extents + extentsInBlock - 1) / extentsInBlock
		n += extents
	}
	return n
}

// writeExtents fills root, the 60 bytes in the inode, with the tree of x and
// returns how many blocks the tree took. inodeSeed is of the inode's checksums.
func (p *populator) writeExtents(root []byte, x extents, inodeSeed uint32) (taken uint64, err error) {
	type node struct {
		logical uint32
		block   uint64
	}
	var level []node
	depth := uint16(0)
	put := func(b []byte, room int, from, to int) {
		le.PutUint16(b[0:], extentMagic)
		le.PutUint16(b[2:], uint16(to-from))
		le.PutUint16(b[4:], uint16(room))
		le.PutUint16(b[6:], depth)
		for i := from; i < to; i++ {
			e := b[12+12*(i-from):]
			if depth == 0 {
				le.PutUint32(e[0:], x[i].logical)
				le.PutUint16(e[4:], uint16(x[i].n))
				le.PutUint16(e[6:], uint16(x[i].start>>32))
				le.PutUint32(e[8:], uint32(x[i].start))
			} else {
				le.PutUint32(e[0:], level[i].logical)
				le.PutUint32(e[4:], uint32(level[i].block))
				le.PutUint16(e[8:], uint16(level[i].block>>32))
			}
		}
	}
	count := len(x)
	for count > extentsInInode {
		var up []node
		for from := 0; from < count; from += extentsInBlock {
			to := min(from+extentsInBlock, count)
			b := make([]byte, blockSize)
			put(b, extentsInBlock, from, to)
			const tail = 12 + 12*extentsInBlock
			le.PutUint32(b[tail:], crc32c(inodeSeed, b[:tail]))
			at, _, err := p.blocks.alloc(1)
			if err != nil {
				return 0, err
			}
			if err := p.v.write(b, at); err != nil {
				return 0, fmt.Errorf("write extents: %w", err)
			}
			taken++
			first := uint32(0)
			if depth == 0 {
				first = x[from].logical
			} else {
				first = level[from].logical
			}
			up = append(up, node{first, at})
		}
		level, count, depth = up, len(up), depth+1
	}
	put(root, extentsInInode, 0, count)
	return taken, nil
}
