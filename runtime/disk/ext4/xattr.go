package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bake.build/bake/runtime/disk/tree"
)

const (
	xattrMagic      = 0xea020000
	xattrEntry      = 16 // bytes of an entry before its name
	xattrHeader     = 32 // bytes of a block before its entries
	inodeExtra      = 32 // bytes of the inode's fields past the first 128
	inodeXattr      = 128 + inodeExtra
	inodeXattrSpace = inodeSize - inodeXattr - 4
)

// attr is an extended attribute as it lies on disk.
type attr struct {
	index byte
	name  string
	value []byte
}

// prefixes number the name spaces. Longer ones come before what they begin
// with.
var prefixes = [...]struct {
	prefix string
	index  byte
}{
	{"system.posix_acl_access", 2},
	{"system.posix_acl_default", 3},
	{"user.", 1},
	{"trusted.", 4},
	{"security.", 6},
	{"system.", 7},
}

// attrs turns attributes into their form on disk, in the order that a block of
// them needs.
func attrs(list []tree.Xattr) ([]attr, error) {
	var out []attr
next:
	for _, x := range list {
		for _, p := range prefixes {
			name, ok := strings.CutPrefix(x.Name, p.prefix)
			if !ok || (p.index == 2 || p.index == 3) != (name == "") || len(name) > 255 {
				continue
			}
			a := attr{p.index, name, x.Value}
			if name == "" {
				var err error
				if a.value, err = diskACL(x.Value); err != nil {
					return nil, fmt.Errorf("%s: %w", x.Name, err)
				}
			}
			out = append(out, a)
			continue next
		}
		return nil, fmt.Errorf("%s: ext4 has no place for this extended attribute", x.Name)
	}
	slices.SortFunc(out, func(a, b attr) int {
		if a.index != b.index {
			return int(a.index) - int(b.index)
		}
		if len(a.name) != len(b.name) {
			return len(a.name) - len(b.name)
		}
		return strings.Compare(a.name, b.name)
	})
	return out, nil
}

// diskACL turns an ACL from the form of getxattr (version 2, an id in every
// entry) into that on disk (version 1, ids only where they mean something).
func diskACL(v []byte) ([]byte, error) {
	const userEntry, groupEntry = 0x02, 0x08
	if len(v) < 4 || (len(v)-4)%8 != 0 || le.Uint32(v) != 2 {
		return nil, errors.New("not an access control list of version 2")
	}
	out := binary.LittleEndian.AppendUint32(nil, 1)
	for e := v[4:]; len(e) > 0; e = e[8:] {
		out = append(out, e[:4]...)
		if tag := le.Uint16(e); tag == userEntry || tag == groupEntry {
			out = append(out, e[4:8]...)
		}
	}
	return out, nil
}

func pad4(n int) int { return (n + 3) &^ 3 }

// attrSpace is what the attributes take, the end mark included.
func attrSpace(list []attr) int {
	n := 4
	for _, a := range list {
		n += xattrEntry + pad4(len(a.name)) + pad4(len(a.value))
	}
	return n
}

// putAttrs writes entries from the front of b and values from its end. Offsets
// of values count from base bytes before b. It returns the hash of a block.
func putAttrs(b []byte, base int, list []attr) (hash uint32) {
	at, end := 0, len(b)
	for _, a := range list {
		e := b[at:]
		e[0], e[1] = byte(len(a.name)), a.index
		le.PutUint32(e[8:], uint32(len(a.value)))
		copy(e[xattrEntry:], a.name)
		if len(a.value) > 0 {
			end -= pad4(len(a.value))
			copy(b[end:], a.value)
			le.PutUint16(e[2:], uint16(base+end))
		}
		h := uint32(0)
		for i := range len(a.name) {
			h = h<<5 ^ h>>27 ^ uint32(a.name[i])
		}
		for i := 0; i < pad4(len(a.value)); i += 4 {
			h = h<<16 ^ h>>16 ^ le.Uint32(b[end+i:])
		}
		le.PutUint32(e[12:], h)
		hash = hash<<16 ^ hash>>16 ^ h
		at += xattrEntry + pad4(len(a.name))
	}
	return hash
}

// writeXattrs stores attributes in the inode when they fit and in a block of
// their own otherwise; it returns that block, or 0.
func (p *populator) writeXattrs(inode []byte, list []tree.Xattr) (block uint64, err error) {
	if len(list) == 0 {
		return 0, nil
	}
	as, err := attrs(list)
	if err != nil {
		return 0, err
	}
	if attrSpace(as) <= inodeXattrSpace {
		le.PutUint32(inode[inodeXattr:], xattrMagic)
		putAttrs(inode[inodeXattr+4:], 0, as)
		return 0, nil
	}
	if need := attrSpace(as); need > blockSize-xattrHeader {
		return 0, fmt.Errorf("extended attributes of %d bytes: ext4 keeps at most %d for a file", need, blockSize-xattrHeader)
	}
	if block, _, err = p.blocks.alloc(1); err != nil {
		return 0, err
	}
	b := make([]byte, blockSize)
	le.PutUint32(b[0:], xattrMagic)
	le.PutUint32(b[4:], 1) // inodes that use it
	le.PutUint32(b[8:], 1) // blocks
	le.PutUint32(b[12:], putAttrs(b[xattrHeader:], xattrHeader, as))
	le.PutUint32(b[16:], crc32c(crc32cUint64(p.v.seed, block), b))
	if err := p.v.write(b, block); err != nil {
		return 0, fmt.Errorf("write extended attributes: %w", err)
	}
	return block, nil
}
