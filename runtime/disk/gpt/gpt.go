package gpt

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// SectorSize is the size of a sector in bytes.
const SectorSize = 512

const (
	entries     = 128
	entrySize   = 128
	headerSize  = 92
	tableSize   = entries * entrySize
	tableBlocks = tableSize / SectorSize
	// FirstUsable is the first sector that a partition may hold.
	FirstUsable = 2 + tableBlocks
	nameLength  = 36 // UTF-16 units
)

var le = binary.LittleEndian

// A GUID is a globally unique identifier in the order of its text form.
type GUID [16]byte

// Types of partitions. The root types are those of the Discoverable Partitions
// Specification.
var (
	BIOSBoot  = mustParse("21686148-6449-6E6F-744E-656564454649")
	ESP       = mustParse("C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
	RootAMD64 = mustParse("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709")
	RootARM64 = mustParse("B921B045-1DF0-41C3-AF44-4C6F280D3FAE")
	Linux     = mustParse("0FC63DAF-8483-4772-8E79-3D69D8477DE4")
)

// DeriveGUID returns a GUID that follows from a seed and a name, with the bits
// of a random one (RFC 9562, version 4).
func DeriveGUID(seed [32]byte, name string) GUID {
	h := sha256.New()
	h.Write(seed[:])
	h.Write([]byte(name))
	var g GUID
	copy(g[:], h.Sum(nil))
	g[6] = g[6]&0x0f | 0x40
	g[8] = g[8]&0x3f | 0x80
	return g
}

func (g GUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[0:4], g[4:6], g[6:8], g[8:10], g[10:16])
}

// ParseGUID reads the usual text form.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return g, fmt.Errorf("parse GUID %q: want the form 8-4-4-4-12", s)
	}
	hex := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	for i := range g {
		hi, lo := digit(hex[2*i]), digit(hex[2*i+1])
		if hi > 15 || lo > 15 {
			return GUID{}, fmt.Errorf("parse GUID %q: not hexadecimal", s)
		}
		g[i] = hi<<4 | lo
	}
	return g, nil
}

func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

func mustParse(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}

// swap turns the order on disk, where the first three fields are
// little-endian, into that of the text form and back.
func swap(g GUID) GUID {
	g[0], g[1], g[2], g[3] = g[3], g[2], g[1], g[0]
	g[4], g[5] = g[5], g[4]
	g[6], g[7] = g[7], g[6]
	return g
}

// A Partition is one entry of a table.
type Partition struct {
	Number int    // from 1 to 128: its place in the table
	First  uint64 // sector
	Last   uint64 // sector, included
	Type   GUID
	ID     GUID
	Attrs  uint64
	Name   string
}

// A Table is a partition table.
type Table struct {
	Disk       GUID
	Sectors    uint64 // of the whole disk
	Partitions []Partition
}

// LastUsable is the last sector that a partition of a disk may hold.
func LastUsable(sectors uint64) uint64 { return sectors - 2 - tableBlocks }

func (t *Table) check() error {
	if t.Sectors < 2*FirstUsable {
		return errors.New("the disk is too small for a partition table")
	}
	var used [entries]bool
	for i, p := range t.Partitions {
		if p.Number < 1 || p.Number > entries || used[p.Number-1] {
			return fmt.Errorf("bad partition number %d", p.Number)
		}
		used[p.Number-1] = true
		if p.First < FirstUsable || p.Last < p.First || p.Last > LastUsable(t.Sectors) {
			return fmt.Errorf("partition %d: sectors %d to %d do not lie on the disk", p.Number, p.First, p.Last)
		}
		if p.Type == (GUID{}) {
			return fmt.Errorf("partition %d: no type", p.Number)
		}
		for _, q := range t.Partitions[:i] {
			if p.First <= q.Last && q.First <= p.Last {
				return fmt.Errorf("partitions %d and %d overlap", q.Number, p.Number)
			}
		}
	}
	return nil
}

// Write writes the protective MBR and both copies of the table. Of the MBR's
// first 440 bytes, which are boot code, nothing is touched.
func (t *Table) Write(w io.WriterAt) error {
	if err := t.check(); err != nil {
		return fmt.Errorf("write partition table: %w", err)
	}
	table := t.table()
	last := t.Sectors - 1
	for _, part := range []struct {
		at   uint64
		off  int64
		data []byte
	}{
		{0, 440, t.protectiveMBR()},
		{1, 0, t.header(1, last, 2, table)},
		{2, 0, table},
		{last - tableBlocks, 0, table},
		{last, 0, t.header(last, 1, last-tableBlocks, table)},
	} {
		if _, err := w.WriteAt(part.data, int64(part.at)*SectorSize+part.off); err != nil {
			return fmt.Errorf("write partition table: %w", err)
		}
	}
	return nil
}

// protectiveMBR returns the MBR from byte 440 on: one partition of type 0xee
// over the whole disk.
func (t *Table) protectiveMBR() []byte {
	b := make([]byte, SectorSize-440)
	p := b[446-440:]
	p[1], p[2], p[3] = 0x00, 0x02, 0x00 // first sector as cylinder, head, sector
	p[4] = 0xee
	p[5], p[6], p[7] = 0xff, 0xff, 0xff
	le.PutUint32(p[8:], 1)
	le.PutUint32(p[12:], uint32(min(t.Sectors-1, 0xffffffff)))
	b[510-440], b[511-440] = 0x55, 0xaa
	return b
}

func (t *Table) header(at, other, table uint64, entriesData []byte) []byte {
	b := make([]byte, SectorSize)
	copy(b, "EFI PART")
	le.PutUint32(b[8:], 0x00010000)
	le.PutUint32(b[12:], headerSize)
	le.PutUint64(b[24:], at)
	le.PutUint64(b[32:], other)
	le.PutUint64(b[40:], FirstUsable)
	le.PutUint64(b[48:], LastUsable(t.Sectors))
	disk := swap(t.Disk)
	copy(b[56:], disk[:])
	le.PutUint64(b[72:], table)
	le.PutUint32(b[80:], entries)
	le.PutUint32(b[84:], entrySize)
	le.PutUint32(b[88:], crc32.ChecksumIEEE(entriesData))
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:headerSize]))
	return b
}

func (t *Table) table() []byte {
	b := make([]byte, tableSize)
	for _, p := range t.Partitions {
		e := b[(p.Number-1)*entrySize:]
		typ, id := swap(p.Type), swap(p.ID)
		copy(e, typ[:])
		copy(e[16:], id[:])
		le.PutUint64(e[32:], p.First)
		le.PutUint64(e[40:], p.Last)
		le.PutUint64(e[48:], p.Attrs)
		name := utf16.Encode([]rune(p.Name))
		for i, u := range name[:min(len(name), nameLength)] {
			le.PutUint16(e[56+2*i:], u)
		}
	}
	return b
}
