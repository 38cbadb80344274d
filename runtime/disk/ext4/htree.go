package ext4

import (
	"cmp"
	"slices"
)

// Directories of more than one block have an index by the hashes of their names,
// as of "Hash Tree Directories" in the kernel's documentation: the first block is
// its root, leaves are blocks of names, and nodes lie between where the root
// cannot name all leaves.
const (
	flagIndex    = 0x1000
	indexAt      = 32                            // of the root's entries
	nodeIndexAt  = 8                             // of a node's
	indexTail    = 8                             // bytes at the end, for the checksum
	rootEntries  = (blockSize - indexAt - 8) / 8 // what the root can name
	nodeEntries  = (blockSize - nodeIndexAt - 8) / 8
	nodeFilled   = nodeEntries * 3 / 4 // what a new node names, so that it can grow
	mostLeaves   = rootEntries * nodeFilled
	direntsRoom  = blockSize - direntTail
	ownEntries   = 12 + 12 // bytes of "." and ".."
	hashBits     = 32
	collisionBit = 1 // marks a leaf that begins with the hash that the one before ends with
)

// A hashed is a name with its hash.
type hashed struct {
	dirent
	hash uint32
}

// A leaf is a block of names of an indexed directory.
type leaf struct {
	hash  uint32 // the least that its names have, with the collision bit
	names []hashed
}

// leaves divides names by their hashes: a half of all hashes at a time, until the
// names fit in a block. So a name more or less changes one block, and each has room
// for more.
func leaves(s hashSeed, list []dirent) []leaf {
	all := make([]hashed, len(list))
	for i, d := range list {
		all[i] = hashed{d, s.hash(d.name)}
	}
	slices.SortFunc(all, func(a, b hashed) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.name, b.name))
	})
	return divide(nil, all, 0, hashBits)
}

// divide appends the leaves of names whose hashes are equal but for the lowest
// free bits, and not less than low.
func divide(to []leaf, names []hashed, low uint32, free int) []leaf {
	if fits(names) {
		return append(to, leaf{low, names})
	}
	if free <= 1 { // all the same
		for first := low; len(names) > 0; low = first | collisionBit {
			n := 1
			for n < len(names) && fits(names[:n+1]) {
				n++
			}
			to = append(to, leaf{low, names[:n]})
			names = names[n:]
		}
		return to
	}
	free--
	middle := low>>free | 1
	at, _ := slices.BinarySearchFunc(names, middle<<free, func(h hashed, m uint32) int { return cmp.Compare(h.hash, m) })
	if at > 0 {
		to = divide(to, names[:at], low, free)
	}
	if at == len(names) {
		return to
	}
	return divide(to, names[at:], middle<<free, free)
}

// fits reports whether a block has room for the names.
func fits(names []hashed) bool {
	n := 0
	for _, h := range names {
		if n += direntSize(h.name); n > direntsRoom {
			return false
		}
	}
	return true
}

// indexNodes returns how many nodes there are between the root and its leaves.
func indexNodes(leaves int) int {
	if leaves <= rootEntries {
		return 0
	}
	return (leaves + nodeFilled - 1) / nodeFilled
}

// indexedBlocks returns how many blocks an indexed directory takes; ok is false for
// one that is too large to be indexed.
func indexedBlocks(leaves int) (n int, ok bool) {
	return 1 + leaves + indexNodes(leaves), leaves <= mostLeaves
}

// An indexEntry names a block and the least hash in it.
type indexEntry struct {
	hash  uint32
	block uint32
}

// indexBlocks lays out an indexed directory: the root, the leaves and the nodes.
func indexBlocks(ino, parent uint32, list []leaf, seed uint32) []byte {
	nodes := indexNodes(len(list))
	out := make([]byte, 0, (1+len(list)+nodes)*blockSize)
	root := make([]byte, blockSize)
	putDirent(root, dirent{ino, 2, "."}, 12)
	putDirent(root[12:], dirent{parent, 2, ".."}, blockSize-12)
	root[28], root[29] = hashHalfMD4, 8 // the latter is the size of this information
	out = append(out, root...)
	entries := make([]indexEntry, len(list))
	for i, l := range list {
		entries[i] = indexEntry{l.hash, uint32(1 + i)}
		names := make([]dirent, len(l.names))
		for j, h := range l.names {
			names[j] = h.dirent
		}
		out = append(out, direntBlocks(names, seed)...)
	}
	if nodes > 0 {
		out[30] = 1 // levels of nodes
		var up []indexEntry
		for i := range nodes {
			piece := entries[len(entries)*i/nodes : len(entries)*(i+1)/nodes]
			node := make([]byte, blockSize)
			le.PutUint16(node[4:], blockSize)
			putIndex(node, nodeIndexAt, nodeEntries, piece, seed)
			up = append(up, indexEntry{piece[0].hash, uint32(len(out) / blockSize)})
			out = append(out, node...)
		}
		entries = up
	}
	putIndex(out[:blockSize], indexAt, rootEntries, entries, seed)
	return out
}

// putIndex writes the entries of a root or a node at an offset of b, which has room
// for limit of them, and the block's checksum.
func putIndex(b []byte, at, limit int, entries []indexEntry, seed uint32) {
	for i, e := range entries {
		le.PutUint32(b[at+8*i:], e.hash)
		le.PutUint32(b[at+8*i+4:], e.block)
	}
	// The first one's hash, which is the least of all, makes room for the counts.
	le.PutUint16(b[at:], uint16(limit))
	le.PutUint16(b[at+2:], uint16(len(entries)))
	sum := crc32c(seed, b[:at+8*len(entries)])
	sum = crc32c(sum, make([]byte, indexTail))
	le.PutUint32(b[blockSize-4:], sum)
}
