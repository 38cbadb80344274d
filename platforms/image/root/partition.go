package root

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf16"
)

const sector = 512

// maxPartitions bounds what is read of a partition table: GPT has 128 entries,
// and a chain of logical partitions could be endless.
const maxPartitions = 256

// A partition is a part of a disk, in bytes.
type partition struct {
	start, size int64
	number      int    // in its table, from 1 on; 0 for a disk without one
	id          string // as PARTUUID names it
	name        string // as PARTLABEL names it
	kind        string // the GUID of its type, of a GPT only
	hidden      bool   // it is not to be mounted for its kind alone
}

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
	whole := []partition{{size: size}}
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
	number := 0
	for e := range slices.Chunk(table, int(length)) {
		number++
		if bytes.Equal(e[:16], make([]byte, 16)) {
			continue
		}
		from, to := le.Uint64(e[32:]), le.Uint64(e[40:])
		if from > to || to >= uint64(size/block) {
			continue // beyond the end of the disk
		}
		parts = append(parts, partition{
			start: int64(from) * block, size: int64(to-from+1) * block, number: number,
			kind: guid(e[:16]), id: guid(e[16:32]), name: utf16Text(e[56:128]), hidden: le.Uint64(e[48:])&noAuto != 0,
		})
	}
	return parts, nil
}

// noAuto is the attribute of the Discoverable Partitions Specification by which
// a partition is mounted only where it is named.
const noAuto = 1 << 63

// guid writes a GUID of a GPT, of which the first three fields are little-endian.
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

// utf16Text reads a name that ends with a zero or with b.
func utf16Text(b []byte) string {
	var units []uint16
	for c := range slices.Chunk(b, 2) {
		u := binary.LittleEndian.Uint16(c)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

func readMBR(disk io.ReaderAt, size int64, mbr []byte) ([]partition, error) {
	var parts []partition
	id := binary.LittleEndian.Uint32(mbr[440:])
	logicals := 4
	for _, e := range mbrEntries(mbr) {
		p := partition{start: int64(e.first) * sector, size: int64(e.count) * sector, number: e.number}
		switch {
		case e.kind == 0x05 || e.kind == 0x0f || e.kind == 0x85:
			logical, err := readLogical(disk, size, p.start)
			if err != nil {
				return nil, err
			}
			for _, p := range logical {
				logicals++
				p.number, p.id = logicals, fmt.Sprintf("%08x-%02x", id, logicals)
				parts = append(parts, p)
			}
		case p.start+p.size <= size:
			p.id = fmt.Sprintf("%08x-%02x", id, p.number)
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
			p := partition{start: at + int64(e.first)*sector, size: int64(e.count) * sector}
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
	number       int // in the record, from 1 on
	kind         byte
	first, count uint32 // sectors
}

func mbrEntries(record []byte) []mbrEntry {
	if record[510] != 0x55 || record[511] != 0xaa {
		return nil
	}
	var entries []mbrEntry
	number := 0
	for b := range slices.Chunk(record[446:510], 16) {
		number++
		e := mbrEntry{number, b[4], binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])}
		if e.kind != 0 && e.count != 0 {
			entries = append(entries, e)
		}
	}
	return entries
}
