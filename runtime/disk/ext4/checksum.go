package ext4

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// castagnoli makes a table at each call only in name: the standard library
// keeps one.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// crc32c continues the checksum seed over p. ext4 leaves out the inversions at
// both ends that the standard library makes.
func crc32c(seed uint32, p []byte) uint32 {
	return ^crc32.Update(^seed, castagnoli(), p)
}

func crc32cUint32(seed, v uint32) uint32 {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], v)
	return crc32c(seed, b[:])
}

func crc32cUint64(seed uint32, v uint64) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	return crc32c(seed, b[:])
}

// SameChecksums returns the UUID id with its last four bytes changed so that a file
// system with it has the checksums of one with the UUID like. All checksums begin
// with that of the UUID.
func SameChecksums(id, like [16]byte) [16]byte {
	const free = 12
	table := castagnoli()
	// Each step undoes what one byte did to the checksum: the byte that chose the
	// entry of the table can be told from the entry's highest byte.
	sum := crc32c(^uint32(0), like[:])
	for range 4 {
		at := slices.IndexFunc(table[:], func(v uint32) bool { return v>>24 == sum>>24 })
		sum = (sum^table[at])<<8 | uint32(at)
	}
	binary.LittleEndian.PutUint32(id[free:], sum^crc32c(^uint32(0), id[:free]))
	return id
}
