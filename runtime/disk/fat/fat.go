// Package fat writes small FAT16 file systems with a few files in them, such
// as an EFI system partition, after Microsoft's "FAT: General Overview of
// On-Disk Format", version 1.03. The result follows from the input alone.
package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

const (
	sector       = 512
	perCluster   = 4 // sectors
	clusterSize  = sector * perCluster
	reserved     = 4   // sectors before the first table
	rootEntries  = 512 // names that the root directory has room for
	rootSectors  = rootEntries * 32 / sector
	minClusters  = 4085 // fewer would be FAT12
	maxClusters  = 65524
	attrDir      = 0x10
	attrArchive  = 0x20
	attrVolume   = 0x08
	endOfChain   = 0xffff
	mediaFixed   = 0xf8
	entrySize    = 32
	dosEpochYear = 1980
)

var le = binary.LittleEndian

// A File is one file. Its path is relative, with slashes, and every name in it
// is a short one: at most eight letters, digits, "_" or "-", and an extension
// of at most three.
type File struct {
	Path string
	Data []byte
}

// Options of a file system.
type Options struct {
	ID    uint32
	Label string // at most 11 bytes
	Time  time.Time
}

// Write makes a file system of size bytes at offset of w, which must be zeros.
func Write(w io.WriterAt, offset, size int64, o Options, files []File) error {
	f, err := layout(size, o)
	if err != nil {
		return fmt.Errorf("write FAT: %w", err)
	}
	f.w, f.off = w, offset
	root := &dir{}
	for _, file := range files {
		if err := root.add(file); err != nil {
			return fmt.Errorf("write FAT: %w", err)
		}
	}
	if err := f.write(root); err != nil {
		return fmt.Errorf("write FAT: %w", err)
	}
	return nil
}

// A dir is a directory in memory.
type dir struct {
	name string // as on disk
	dirs []*dir
	file []File // Path is the name as on disk
}

func (d *dir) add(f File) error {
	at := d
	parent, base := path.Split(path.Clean(f.Path))
	for _, part := range strings.Split(strings.Trim(parent, "/"), "/") {
		if part == "" {
			continue
		}
		name, err := shortName(part)
		if err != nil {
			return err
		}
		at = at.sub(name)
	}
	name, err := shortName(base)
	if err != nil {
		return err
	}
	at.file = append(at.file, File{name, f.Data})
	return nil
}

func (d *dir) sub(name string) *dir {
	for _, s := range d.dirs {
		if s.name == name {
			return s
		}
	}
	s := &dir{name: name}
	d.dirs = append(d.dirs, s)
	return s
}

// shortName returns the eleven bytes of a name on disk.
func shortName(s string) (string, error) {
	base, ext, _ := strings.Cut(strings.ToUpper(s), ".")
	ok := len(base) > 0 && len(base) <= 8 && len(ext) <= 3
	for _, c := range base + ext {
		ok = ok && (c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-')
	}
	if !ok {
		return "", fmt.Errorf("%q is not a short file name", s)
	}
	return fmt.Sprintf("%-8s%-3s", base, ext), nil
}

type volume struct {
	w          io.WriterAt
	off        int64
	o          Options
	sectors    uint32
	tableSize  uint32 // sectors of one table
	clusters   uint32
	table      []uint16
	date, time uint16
}

func layout(size int64, o Options) (*volume, error) {
	v := &volume{o: o, sectors: uint32(size / sector)}
	if size < 0 || size/sector > 1<<24 {
		return nil, errors.New("bad size")
	}
	data := int64(v.sectors) - reserved - rootSectors
	v.tableSize = uint32((data/perCluster+2)*2/sector + 1)
	data -= 2 * int64(v.tableSize)
	if n := data / perCluster; n < minClusters || n > maxClusters {
		return nil, fmt.Errorf("%d bytes do not make a FAT16", size)
	}
	v.clusters = uint32(data / perCluster)
	v.table = []uint16{0xff00 | mediaFixed, endOfChain}
	t := o.Time.UTC()
	if t.Year() < dosEpochYear {
		t = time.Date(dosEpochYear, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	v.date = uint16(t.Year()-dosEpochYear)<<9 | uint16(t.Month())<<5 | uint16(t.Day())
	v.time = uint16(t.Hour())<<11 | uint16(t.Minute())<<5 | uint16(t.Second()/2)
	return v, nil
}

func (v *volume) dataStart() int64 {
	return int64(reserved+2*v.tableSize+rootSectors) * sector
}

func (v *volume) write(root *dir) error {
	b := make([]byte, rootEntries*entrySize)
	at := v.entry(b, fmt.Sprintf("%-11s", v.o.Label), attrVolume, 0, 0)
	if err := v.fill(b, at, 0, root); err != nil {
		return err
	}
	table := make([]byte, int(v.tableSize)*sector)
	for i, n := range v.table {
		le.PutUint16(table[2*i:], n)
	}
	for _, part := range []struct {
		at   int64
		data []byte
	}{
		{0, v.bootSector()},
		{reserved * sector, table},
		{int64(reserved+v.tableSize) * sector, table},
		{int64(reserved+2*v.tableSize) * sector, b},
	} {
		if _, err := v.w.WriteAt(part.data, v.off+part.at); err != nil {
			return err
		}
	}
	return nil
}

func (v *volume) bootSector() []byte {
	b := make([]byte, sector)
	copy(b, "\xeb\x3c\x90mkfs.fat")
	le.PutUint16(b[11:], sector)
	b[13] = perCluster
	le.PutUint16(b[14:], reserved)
	b[16] = 2 // tables
	le.PutUint16(b[17:], rootEntries)
	if v.sectors < 1<<16 {
		le.PutUint16(b[19:], uint16(v.sectors))
	} else {
		le.PutUint32(b[32:], v.sectors)
	}
	b[21] = mediaFixed
	le.PutUint16(b[22:], uint16(v.tableSize))
	le.PutUint16(b[24:], 63)  // sectors of a track
	le.PutUint16(b[26:], 255) // heads
	le.PutUint32(b[28:], uint32(v.off/sector))
	b[36], b[38] = 0x80, 0x29
	le.PutUint32(b[39:], v.o.ID)
	copy(b[43:], fmt.Sprintf("%-11s", v.o.Label))
	copy(b[54:], "FAT16   ")
	b[510], b[511] = 0x55, 0xaa
	return b
}

// entry writes a directory entry to the front of b and returns its size.
func (v *volume) entry(b []byte, name string, attr byte, cluster, size uint32) int {
	e := b
	copy(e, name)
	e[11] = attr
	le.PutUint16(e[14:], v.time)
	le.PutUint16(e[16:], v.date)
	le.PutUint16(e[18:], v.date)
	le.PutUint16(e[22:], v.time)
	le.PutUint16(e[24:], v.date)
	le.PutUint16(e[26:], uint16(cluster))
	le.PutUint32(e[28:], size)
	return entrySize
}

// fill writes the entries of d to b from byte at on. own is the cluster of d,
// or 0 for the root.
func (v *volume) fill(b []byte, at int, own uint32, d *dir) error {
	if at+entrySize*(len(d.dirs)+len(d.file)) > len(b) {
		return errors.New("too many names in a directory")
	}
	for _, s := range d.dirs {
		if n := entrySize * (2 + len(s.dirs) + len(s.file)); n > clusterSize {
			return errors.New("too many names in a directory")
		}
		c, err := v.chain(clusterSize)
		if err != nil {
			return err
		}
		at += v.entry(b[at:], s.name, attrDir, c, 0)
		sub := make([]byte, clusterSize)
		n := v.entry(sub, fmt.Sprintf("%-11s", "."), attrDir, c, 0)
		n += v.entry(sub[n:], fmt.Sprintf("%-11s", ".."), attrDir, own, 0)
		if err := v.fill(sub, n, c, s); err != nil {
			return err
		}
		if err := v.put(c, sub); err != nil {
			return err
		}
	}
	for _, f := range d.file {
		c, err := v.chain(len(f.Data))
		if err != nil {
			return err
		}
		at += v.entry(b[at:], f.Path, attrArchive, c, uint32(len(f.Data)))
		if err := v.put(c, f.Data); err != nil {
			return err
		}
	}
	return nil
}

// chain takes clusters for n bytes, one after another, and returns the first.
func (v *volume) chain(n int) (uint32, error) {
	count := (n + clusterSize - 1) / clusterSize
	if count == 0 {
		return 0, nil
	}
	first := len(v.table)
	if first+count > int(v.clusters)+2 {
		return 0, errors.New("no space")
	}
	for i := range count - 1 {
		v.table = append(v.table, uint16(first+i+1))
	}
	v.table = append(v.table, endOfChain)
	return uint32(first), nil
}

func (v *volume) put(cluster uint32, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	_, err := v.w.WriteAt(data, v.off+v.dataStart()+int64(cluster-2)*clusterSize)
	return err
}
