package root

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode/utf16"
)

// maxTable bounds the memory for a table of clusters: that of 32 GiB.
const maxTable = 64 << 20

// A fatVolume is a FAT file system, as of Microsoft's "FAT: General Overview of
// On-Disk Format", version 1.03.
type fatVolume struct {
	r        io.ReaderAt
	table    []byte
	bits     int   // of an entry of the table
	clusters int64 // from number 2 on
	cluster  int64 // bytes in one
	data     int64 // offset of the first one
	root     int64 // offset of the root directory, where it is not in clusters
	rootSize int64
	first    uint32 // the root directory's cluster, where it is
	budget   int64  // bytes of content still allowed: files may share clusters
}

// extractFAT copies the files of a FAT file system to the new directory dir.
func extractFAT(r *io.SectionReader, dir string, umask uint32) (err error) {
	v, err := openFAT(r)
	if err != nil {
		return err
	}
	perm := fs.FileMode(0o777 &^ umask)
	if err := os.Mkdir(dir, perm); err != nil {
		return err
	}
	to, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	entries, err := v.rootDir()
	if err == nil {
		err = v.extract(entries, to, ".", perm, 0)
	}
	// The root has no time of its own; the kernel gives it this one.
	return errors.Join(err, to.Chmod(".", perm), to.Chtimes(".", time.Unix(0, 0), time.Unix(0, 0)))
}

func openFAT(r *io.SectionReader) (*fatVolume, error) {
	b := make([]byte, sector)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read boot sector: %w", err)
	}
	le := binary.LittleEndian
	size, perCluster := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, tables := int64(le.Uint16(b[14:])), int64(b[16])
	rootEntries, sectors, tableSectors := int64(le.Uint16(b[17:])), int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	if tableSectors == 0 {
		tableSectors = int64(le.Uint32(b[36:]))
	}
	if size < 512 || size > 4096 || size&(size-1) != 0 || perCluster == 0 || perCluster&(perCluster-1) != 0 || tables == 0 {
		return nil, errors.New("the boot sector is damaged")
	}
	rootSectors := (rootEntries*32 + size - 1) / size
	data := reserved + tables*tableSectors + rootSectors
	v := &fatVolume{
		r: r, cluster: perCluster * size, clusters: (sectors - data) / perCluster, data: data * size,
		root: (reserved + tables*tableSectors) * size, rootSize: rootEntries * 32, budget: r.Size(),
	}
	switch {
	case v.clusters < 1 || sectors*size > r.Size() || tableSectors*size > maxTable:
		return nil, errors.New("the boot sector is damaged")
	case v.clusters < 4085:
		v.bits = 12
	case v.clusters < 65525:
		v.bits = 16
	default:
		v.bits, v.first = 32, le.Uint32(b[44:])
	}
	if (v.clusters+2)*int64(v.bits) > tableSectors*size*8 {
		return nil, errors.New("the table is too short")
	}
	v.table = make([]byte, tableSectors*size)
	if _, err := r.ReadAt(v.table, reserved*size); err != nil {
		return nil, fmt.Errorf("read table: %w", err)
	}
	return v, nil
}

// next returns the cluster after c, or ok = false at the end of a chain.
func (v *fatVolume) next(c uint32) (n uint32, ok bool) {
	le := binary.LittleEndian
	switch v.bits {
	case 12:
		n = uint32(le.Uint16(v.table[c*3/2:]))
		if n &= 0xffff; c%2 == 1 {
			n >>= 4
		}
		n &= 0xfff
		return n, n < 0xff8
	case 16:
		n = uint32(le.Uint16(v.table[c*2:]))
		return n, n < 0xfff8
	}
	n = le.Uint32(v.table[c*4:]) & 0x0fffffff
	return n, n < 0x0ffffff8
}

// copy writes the content that begins at a cluster to w, of at most max bytes.
func (v *fatVolume) copy(w io.Writer, c uint32, max int64) error {
	buf := make([]byte, v.cluster)
	for ok := true; ok && max > 0; c, ok = v.next(c) {
		if c < 2 || int64(c) >= v.clusters+2 {
			return fmt.Errorf("a chain leads to cluster %d, which is not there", c)
		}
		if v.budget -= v.cluster; v.budget < 0 {
			return errors.New("its files hold more than it has room for")
		}
		part := buf[:min(v.cluster, max)]
		if _, err := v.r.ReadAt(part, v.data+int64(c-2)*v.cluster); err != nil {
			return err
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		max -= int64(len(part))
	}
	return nil
}

// maxDirectory is the size of a directory at most, in bytes.
const maxDirectory = 65536 * 32

func (v *fatVolume) rootDir() ([]fatEntry, error) {
	if v.bits == 32 {
		return v.dir(v.first)
	}
	b := make([]byte, v.rootSize)
	if _, err := v.r.ReadAt(b, v.root); err != nil {
		return nil, err
	}
	return parseFATDir(b), nil
}

func (v *fatVolume) dir(c uint32) ([]fatEntry, error) {
	var b bytes.Buffer
	if err := v.copy(&b, c, maxDirectory); err != nil {
		return nil, err
	}
	return parseFATDir(b.Bytes()), nil
}

// A fatEntry is one name in a directory.
type fatEntry struct {
	name  string
	dir   bool
	first uint32
	size  uint32
	time  time.Time
}

// parseFATDir returns the files and directories of a directory.
func parseFATDir(b []byte) []fatEntry {
	const volumeLabel, directory, longName = 0x08, 0x10, 0x0f
	le := binary.LittleEndian
	var list []fatEntry
	var long []uint16
	var sum byte
	for ; len(b) >= 32 && b[0] != 0; b = b[32:] {
		e := b[:32]
		switch {
		case e[0] == 0xe5:
			long = nil
		case e[11]&0x3f == longName:
			if e[0]&0x40 != 0 {
				long, sum = nil, e[13]
			}
			var part []uint16
			for _, span := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
				for i := span[0]; i < span[1]; i += 2 {
					part = append(part, le.Uint16(e[i:]))
				}
			}
			long = append(part, long...)
		case e[11]&volumeLabel != 0:
			long = nil
		default:
			name := shortFATName(e)
			if long != nil && sum == fatChecksum(e[:11]) {
				name = longFATName(long)
			}
			long = nil
			if name == "." || name == ".." {
				continue
			}
			list = append(list, fatEntry{
				name: name, dir: e[11]&directory != 0, size: le.Uint32(e[28:]), time: fatTime(le.Uint16(e[24:]), le.Uint16(e[22:])),
				first: uint32(le.Uint16(e[20:]))<<16 | uint32(le.Uint16(e[26:])),
			})
		}
	}
	return list
}

func longFATName(units []uint16) string {
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units))
}

// shortFATName returns the name of eight and three letters of an entry, in which
// two bits say that a part is in lower case.
func shortFATName(e []byte) string {
	part := func(b []byte, lower bool) string {
		s := strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '_'
			}
			return r
		}, string(b))
		s = strings.TrimRight(s, " ")
		if lower {
			s = strings.ToLower(s)
		}
		return s
	}
	name, ext := part(e[:8], e[12]&0x08 != 0), part(e[8:11], e[12]&0x10 != 0)
	if ext != "" {
		name += "." + ext
	}
	return name
}

// fatChecksum ties a long name to its short one.
func fatChecksum(short []byte) (sum byte) {
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// fatTime reads a date and a time of day, which are of no time zone.
func fatTime(date, clock uint16) time.Time {
	return time.Date(1980+int(date>>9), time.Month(date>>5&15), int(date&31),
		int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
}

// extract writes the entries of a directory below to.
func (v *fatVolume) extract(entries []fatEntry, to *os.Root, at string, perm fs.FileMode, depth int) error {
	if depth > 32 {
		return errors.New("directories lie too deep in each other")
	}
	for _, e := range entries {
		if e.name == "" || strings.ContainsAny(e.name, "/\x00") {
			return fmt.Errorf("the name %q is not one of a file", e.name)
		}
		path := at + "/" + e.name
		if err := v.extractOne(e, to, path, perm, depth); err != nil {
			return fmt.Errorf("%s: %w", strings.TrimPrefix(path, "./"), err)
		}
		if err := errors.Join(to.Chmod(path, perm), to.Chtimes(path, e.time, e.time)); err != nil {
			return err
		}
	}
	return nil
}

func (v *fatVolume) extractOne(e fatEntry, to *os.Root, path string, perm fs.FileMode, depth int) error {
	if e.dir {
		if err := to.Mkdir(path, perm|0o700); err != nil {
			return err
		}
		list, err := v.dir(e.first)
		if err != nil {
			return err
		}
		return v.extract(list, to, path, perm, depth+1)
	}
	f, err := to.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	if e.size > 0 {
		err = v.copy(f, e.first, int64(e.size))
	}
	info, statErr := f.Stat()
	if err = errors.Join(err, statErr, f.Close()); err == nil && info.Size() != int64(e.size) {
		err = fmt.Errorf("it has %d of %d bytes", info.Size(), e.size)
	}
	return err
}
