package root

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

const sector = 512

// maxPartitions bounds what is read of a partition table: GPT has 128 entries,
// and a chain of logical partitions could be endless.
const maxPartitions = 256

// A partition is a part of a disk, in bytes.
type partition struct{ start, size int64 }

// partitions returns the partitions of a disk in the order of its table, GPT
// (UEFI specification, chapter 5) or MBR, or the whole disk when it has none.
func partitions(disk io.ReaderAt, size int64) ([]partition, error) {
	for _, block := range []int64{512, 4096} {
		head := make([]byte, 92)
		if _, err := disk.ReadAt(head, block); err != nil {
			continue // too short for a table
		}
		if bytes.HasPrefix(head, []byte("EFI PART")) {
			return readGPT(disk, size, block, head)
		}
	}
	mbr := make([]byte, sector)
	if _, err := disk.ReadAt(mbr, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	whole := []partition{{0, size}}
	if fs, err := fileSystem(disk, whole[0]); err != nil || fs != "" {
		return whole, err // boot sectors of file systems look like tables
	}
	parts, err := readMBR(disk, size, mbr)
	if err != nil || len(parts) > 0 {
		return parts, err
	}
	return whole, nil
}

func readGPT(disk io.ReaderAt, size, block int64, head []byte) ([]partition, error) {
	le := binary.LittleEndian
	first := le.Uint64(head[72:])
	count, length := le.Uint32(head[80:]), le.Uint32(head[84:])
	if count > maxPartitions || length < 128 || length > 4096 || first > uint64(size/block) {
		return nil, errors.New("read partition table: the GPT header is damaged")
	}
	table := make([]byte, int64(count)*int64(length))
	if _, err := disk.ReadAt(table, int64(first)*block); err != nil {
		return nil, fmt.Errorf("read partition table: %w", err)
	}
	var parts []partition
	for e := range slices.Chunk(table, int(length)) {
		if bytes.Equal(e[:16], make([]byte, 16)) {
			continue
		}
		from, to := le.Uint64(e[32:]), le.Uint64(e[40:])
		if from > to || to >= uint64(size/block) {
			continue // beyond the end of the disk
		}
		parts = append(parts, partition{int64(from) * block, int64(to-from+1) * block})
	}
	return parts, nil
}

func readMBR(disk io.ReaderAt, size int64, mbr []byte) ([]partition, error) {
	var parts []partition
	for _, e := range mbrEntries(mbr) {
		p := partition{int64(e.first) * sector, int64(e.count) * sector}
		switch {
		case e.kind == 0x05 || e.kind == 0x0f || e.kind == 0x85:
			logical, err := readLogical(disk, size, p.start)
			if err != nil {
				return nil, err
			}
			parts = append(parts, logical...)
		case p.start+p.size <= size:
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// readLogical follows the chain of logical partitions from the start of the
// extended one.
func readLogical(disk io.ReaderAt, size, extended int64) ([]partition, error) {
	var parts []partition
	record := make([]byte, sector)
	for at := extended; len(parts) < maxPartitions; {
		if at+sector > size {
			return parts, nil
		}
		if _, err := disk.ReadAt(record, at); err != nil {
			return nil, fmt.Errorf("read partition table: %w", err)
		}
		next := int64(0)
		for _, e := range mbrEntries(record) {
			if e.kind == 0x05 || e.kind == 0x0f || e.kind == 0x85 {
				next = extended + int64(e.first)*sector
				continue
			}
			p := partition{at + int64(e.first)*sector, int64(e.count) * sector}
			if p.start+p.size <= size {
				parts = append(parts, p)
			}
		}
		if next <= at { // the end, or a loop
			return parts, nil
		}
		at = next
	}
	return parts, nil
}

type mbrEntry struct {
	kind         byte
	first, count uint32 // sectors
}

func mbrEntries(record []byte) []mbrEntry {
	if record[510] != 0x55 || record[511] != 0xaa {
		return nil
	}
	var entries []mbrEntry
	for b := range slices.Chunk(record[446:510], 16) {
		e := mbrEntry{b[4], binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])}
		if e.kind != 0 && e.count != 0 {
			entries = append(entries, e)
		}
	}
	return entries
}

// Magic numbers of what a partition may hold, at their offsets.
var magics = []struct {
	name   string
	offset int64
	bytes  string
}{
	{"ext4", 1024 + 56, "\x53\xef"}, // of ext2 and ext3 too, which ext4 mounts
	{"xfs", 0, "XFSB"},
	{"btrfs", 0x10040, "_BHRfS_M"},
	{"f2fs", 1024, "\x10\x20\xf5\xf2"},
	{"squashfs", 0, "hsqs"},
	{"erofs", 1024, "\xe2\xe1\xf5\xe0"},
	{"LVM", sector + 24, "LVM2 001"},
	{"LUKS", 0, "LUKS\xba\xbe"},
}

// fileSystem returns the kind of what p holds, or "" when it is none that a
// root file system can be.
func fileSystem(disk io.ReaderAt, p partition) (string, error) {
	for _, m := range magics {
		if m.offset+int64(len(m.bytes)) > p.size {
			continue
		}
		b := make([]byte, len(m.bytes))
		if _, err := disk.ReadAt(b, p.start+m.offset); errors.Is(err, io.EOF) {
			continue
		} else if err != nil {
			return "", err
		}
		if string(b) == m.bytes {
			return m.name, nil
		}
	}
	return "", nil
}
