package gpt

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// Read reads the table of a disk of size bytes, from its primary copy or, when
// that one is damaged, from the backup.
func Read(r io.ReaderAt, size int64) (*Table, error) {
	sectors := uint64(size) / SectorSize
	if size < 2*FirstUsable*SectorSize {
		return nil, errors.New("read partition table: the disk is too small")
	}
	t, err := readCopy(r, 1, sectors)
	if err == nil {
		return t, nil
	}
	if t, err2 := readCopy(r, sectors-1, sectors); err2 == nil {
		return t, nil
	}
	return nil, fmt.Errorf("read partition table: %w", err)
}

func readCopy(r io.ReaderAt, at, sectors uint64) (*Table, error) {
	h := make([]byte, SectorSize)
	if _, err := r.ReadAt(h, int64(at)*SectorSize); err != nil {
		return nil, err
	}
	if string(h[:8]) != "EFI PART" {
		return nil, errors.New("no GUID partition table")
	}
	n := le.Uint32(h[12:])
	if n < headerSize || n > SectorSize {
		return nil, fmt.Errorf("header of %d bytes", n)
	}
	sum := le.Uint32(h[16:])
	le.PutUint32(h[16:], 0)
	if crc32.ChecksumIEEE(h[:n]) != sum {
		return nil, errors.New("the header's checksum is wrong")
	}
	count, each, start := le.Uint32(h[80:]), le.Uint32(h[84:]), le.Uint64(h[72:])
	if le.Uint64(h[24:]) != at || count == 0 || count > 1024 || each < entrySize || each > 4096 || each%8 != 0 || start < 2 || start >= sectors {
		return nil, errors.New("the header makes no sense")
	}
	table := make([]byte, int(count)*int(each))
	if _, err := r.ReadAt(table, int64(start)*SectorSize); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(table) != le.Uint32(h[88:]) {
		return nil, errors.New("the table's checksum is wrong")
	}
	t := &Table{Disk: swap(GUID(h[56:72])), Sectors: sectors}
	for i := range int(count) {
		e := table[i*int(each):]
		p := Partition{
			Number: i + 1, Type: swap(GUID(e[:16])), ID: swap(GUID(e[16:32])),
			First: le.Uint64(e[32:]), Last: le.Uint64(e[40:]), Attrs: le.Uint64(e[48:]),
		}
		if p.Type == (GUID{}) {
			continue
		}
		if p.Last < p.First || p.Last >= sectors {
			return nil, fmt.Errorf("partition %d: sectors %d to %d do not lie on the disk", p.Number, p.First, p.Last)
		}
		var name []uint16
		for j := range nameLength {
			u := le.Uint16(e[56+2*j:])
			if u == 0 {
				break
			}
			name = append(name, u)
		}
		p.Name = string(utf16.Decode(name))
		t.Partitions = append(t.Partitions, p)
	}
	return t, nil
}
