package vmdk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// A Description is what the text in a growing disk says of it.
type Description struct {
	CID       string // content identifier, eight digits
	ParentCID string // that of the disk that this one holds the differences to; "" for a whole one
	Parent    string // where that is, as the file says
	Kind      string // createType
	Size      int64  // of the disk in bytes
}

// Describe reads the description of the growing disk in the file at path.
func Describe(path string) (*Description, error) {
	e, err := openExtent(path)
	if err != nil {
		return nil, err
	}
	return &e.Description, e.f.Close()
}

// An extent is a growing disk that is open for reading.
type extent struct {
	Description
	f         *os.File
	size      int64 // of the file
	zeros     bool  // an entry of one stands for zeros
	grain     int64 // bytes
	entries   int64 // of a table
	directory []byte
	tables    map[int64][]byte // that were read, by their numbers
}

func openExtent(path string) (_ *extent, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	e := &extent{f: f, size: info.Size(), tables: map[int64][]byte{}}
	b := make([]byte, Sector)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, cut(err)
	}
	le := binary.LittleEndian
	flags, capacity, grain := le.Uint32(b[8:]), le.Uint64(b[12:]), le.Uint64(b[20:])
	e.zeros, e.entries = flags&flagZeros != 0, int64(le.Uint32(b[44:]))
	switch {
	case string(b[:4]) != "KDMV":
		return nil, errors.New("is not a VMDK that is whole in one file")
	case flags&flagPacked != 0:
		return nil, errors.New("is a VMDK of compressed grains, which no machine writes to")
	case capacity == 0 || capacity > mostCapacity:
		return nil, fmt.Errorf("the VMDK has %d sectors", capacity)
	case grain == 0 || grain > 1<<11 || grain&(grain-1) != 0:
		return nil, fmt.Errorf("grains of the VMDK have %d sectors", grain)
	case e.entries == 0 || e.entries > 1<<16:
		return nil, fmt.Errorf("tables of the VMDK have %d entries", e.entries)
	}
	e.Size, e.grain = int64(capacity)*Sector, int64(grain)*Sector
	if err := e.describe(le.Uint64(b[28:]), le.Uint64(b[36:])); err != nil {
		return nil, err
	}
	span := e.grain * e.entries
	e.directory = make([]byte, 4*((e.Size+span-1)/span))
	return e, e.readAt(e.directory, le.Uint64(b[56:]))
}

// readAt reads from a sector on.
func (e *extent) readAt(b []byte, sector uint64) error {
	if sector > uint64(e.size)/Sector || int64(sector)*Sector+int64(len(b)) > e.size {
		return errors.New("is cut short or damaged: a part of the VMDK is not in the file")
	}
	_, err := e.f.ReadAt(b, int64(sector)*Sector)
	return err
}

// describe reads the text of so many sectors.
func (e *extent) describe(sector, sectors uint64) error {
	const most = 1 << 11
	if sector == 0 || sectors == 0 || sectors > most {
		return errors.New("the VMDK's description is another file")
	}
	b := make([]byte, sectors*Sector)
	if err := e.readAt(b, sector); err != nil {
		return err
	}
	text, _, _ := bytes.Cut(b, []byte{0})
	extents := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		switch key = strings.TrimSpace(key); {
		case strings.HasPrefix(line, "RW ") || strings.HasPrefix(line, "RDONLY "):
			extents++
		case !ok:
		case key == "CID":
			e.CID = identifier(value)
		case key == "parentCID" && !strings.EqualFold(value, none):
			e.ParentCID = identifier(value)
		case key == "parentFileNameHint":
			e.Parent = strings.Trim(value, `"`)
		case key == "createType":
			e.Kind = value
		}
	}
	if extents != 1 {
		return fmt.Errorf("the VMDK is in %d files: want one", extents)
	}
	if e.CID == "" {
		return errors.New("the VMDK's description has no CID")
	}
	return nil
}

// identifier returns eight digits: some programs leave out the first ones.
func identifier(text string) string {
	if len(text) > 8 {
		return text
	}
	return strings.Repeat("0", 8-len(text)) + strings.ToLower(text)
}

// entry returns where the grain of a number lies, in sectors: zero where the disk below
// has it.
func (e *extent) entry(index int64) (uint32, error) {
	le, number := binary.LittleEndian, index/e.entries
	table, ok := e.tables[number]
	if !ok {
		if at := le.Uint32(e.directory[4*number:]); at != 0 {
			table = make([]byte, 4*e.entries)
			if err := e.readAt(table, uint64(at)); err != nil {
				return 0, fmt.Errorf("%s: %w", e.f.Name(), err)
			}
		}
		e.tables[number] = table
	}
	if table == nil {
		return 0, nil
	}
	return le.Uint32(table[4*(index%e.entries):]), nil
}

// ReadChain writes the disk that the growing disks at the paths hold, the oldest first,
// to disk, which is empty. What is zero is left as a hole. Each but the first must hold
// the differences to that before it, as their content identifiers say. progress may be
// nil.
func ReadChain(ctx context.Context, disk *os.File, paths []string, progress func(done, total int64)) (err error) {
	var chain []*extent
	defer func() {
		for _, e := range chain {
			err = errors.Join(err, e.f.Close())
		}
	}()
	for i, path := range paths {
		e, err := openExtent(path)
		if err != nil {
			return err
		}
		chain = append(chain, e)
		want := ""
		if i > 0 {
			want = chain[i-1].CID
		}
		if e.ParentCID != want {
			return fmt.Errorf("%s: holds the differences to a disk with the identifier %q, and the one below has %q", path, e.ParentCID, want)
		}
		if e.grain != chain[0].grain {
			return fmt.Errorf("%s: its grains have %d bytes, and those below %d", path, e.grain, chain[0].grain)
		}
	}
	if len(chain) == 0 {
		return errors.New("a chain without a disk")
	}
	top := chain[len(chain)-1]
	if err := disk.Truncate(top.Size); err != nil {
		return err
	}
	buf := make([]byte, top.grain)
	for at := int64(0); at < top.Size; at += top.grain {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := copyGrain(disk, chain, at, buf[:min(top.grain, top.Size-at)]); err != nil {
			return err
		}
		if progress != nil && at%(64*top.grain) == 0 {
			progress(at, top.Size)
		}
	}
	return nil
}

// copyGrain writes what the disk holds from at on, of which b has the length.
func copyGrain(disk *os.File, chain []*extent, at int64, b []byte) error {
	for i := len(chain) - 1; i >= 0; i-- {
		e := chain[i]
		if at >= e.Size {
			return nil // the disk has grown since
		}
		sector, err := e.entry(at / e.grain)
		if err != nil {
			return err
		}
		if sector == 0 {
			continue
		}
		if sector == 1 && e.zeros {
			return nil
		}
		b = b[:min(int64(len(b)), e.Size-at)]
		if err := e.readAt(b, uint64(sector)); err != nil {
			return fmt.Errorf("%s: %w", e.f.Name(), err)
		}
		if isZero(b) {
			return nil
		}
		_, err = disk.WriteAt(b, at)
		return err
	}
	return nil
}
