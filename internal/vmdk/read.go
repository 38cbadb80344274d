package vmdk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
)

// mostCapacity bounds the disks that are read, in sectors: 64 TiB.
const mostCapacity = 64 << 40 / Sector

// A reader reads a stream of compressed grains.
type reader struct {
	r        *bufio.Reader
	capacity uint64 // sectors of the disk
	grain    uint64 // sectors of a grain
	packed   []byte
	plain    bytes.Buffer
	inflate  io.ReadCloser
}

// ReadStream reads a stream of compressed grains, as WriteStream and VMware's programs
// write it, and writes the data that is not zeros to disk, a file with holes. It returns
// the size of the disk in bytes, which the file may fall short of. progress is told the
// bytes of the disk that are done.
func ReadStream(ctx context.Context, in io.Reader, disk io.WriterAt, progress func(done, size int64)) (size int64, err error) {
	r := &reader{r: bufio.NewReaderSize(in, 1<<20)}
	if err := r.begin(); err != nil {
		return 0, fmt.Errorf("VMDK: %w", err)
	}
	size = int64(r.capacity * Sector)
	for ctx.Err() == nil {
		at, data, err := r.next()
		if err == io.EOF {
			return size, nil
		} else if err != nil {
			return 0, fmt.Errorf("VMDK: %w", err)
		}
		if data == nil {
			continue
		}
		if _, err := disk.WriteAt(data, at); err != nil {
			return 0, err
		}
		progress(at+int64(len(data)), size)
	}
	return 0, context.Cause(ctx)
}

// begin reads the header and what lies before the first grain.
func (r *reader) begin() error {
	b := make([]byte, Sector)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return cut(err)
	}
	le := binary.LittleEndian
	flags, overhead := le.Uint32(b[8:]), le.Uint64(b[64:])
	r.capacity, r.grain = le.Uint64(b[12:]), le.Uint64(b[20:])
	switch {
	case string(b[:4]) != "KDMV":
		return errors.New("it does not begin as one")
	case flags&(1<<16) == 0 || flags&(1<<17) == 0 || le.Uint16(b[77:]) != 1:
		return errors.New("it is not a stream of compressed grains")
	case r.capacity == 0 || r.capacity > mostCapacity:
		return fmt.Errorf("it has %d sectors", r.capacity)
	case r.grain == 0 || r.grain > 1<<11:
		return fmt.Errorf("its grains have %d sectors", r.grain)
	case overhead == 0 || overhead > 1<<16:
		return fmt.Errorf("%d sectors lie before its first grain", overhead)
	}
	_, err := io.CopyN(io.Discard, r.r, int64(overhead-1)*Sector)
	return cut(err)
}

// next returns a grain and where it belongs, or no data for what is not one. The error is
// io.EOF at the end of the stream.
func (r *reader) next() (at int64, data []byte, err error) {
	b := make([]byte, Sector)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return 0, nil, cut(err)
	}
	le := binary.LittleEndian
	value, size := le.Uint64(b), le.Uint32(b[8:])
	if size > 0 {
		return r.data(value, int(size), b)
	}
	switch kind := le.Uint32(b[12:]); {
	case kind == markerEnd:
		return 0, nil, io.EOF
	case kind > markerFooter:
		return 0, nil, fmt.Errorf("a marker is of the unknown kind %d", kind)
	case value > mostCapacity/grainSectors/tableEntries+tableEntries:
		return 0, nil, fmt.Errorf("a table has %d sectors", value)
	}
	_, err = io.CopyN(io.Discard, r.r, int64(value)*Sector)
	return 0, nil, cut(err)
}

// data reads the grain at a sector, whose first part is in b behind its marker.
func (r *reader) data(sector uint64, size int, b []byte) (int64, []byte, error) {
	const marker = 12
	full := r.grain * Sector
	switch {
	case uint64(size) > 2*full:
		return 0, nil, fmt.Errorf("a grain has %d bytes", size)
	case sector >= r.capacity || sector%r.grain != 0:
		return 0, nil, fmt.Errorf("a grain is for sector %d of %d", sector, r.capacity)
	}
	r.packed = append(r.packed[:0], b[marker:]...)
	if more := size - len(r.packed); more > 0 {
		more = (more + Sector - 1) / Sector * Sector
		have := len(r.packed)
		r.packed = append(r.packed, make([]byte, more)...)
		if _, err := io.ReadFull(r.r, r.packed[have:]); err != nil {
			return 0, nil, cut(err)
		}
	}
	if err := r.unpack(r.packed[:size], int64(full)); err != nil {
		return 0, nil, fmt.Errorf("the grain of sector %d: %w", sector, err)
	}
	n := min(uint64(r.plain.Len()), (r.capacity-sector)*Sector)
	return int64(sector * Sector), r.plain.Bytes()[:n], nil
}

// unpack inflates a grain of at most so many bytes.
func (r *reader) unpack(packed []byte, most int64) (err error) {
	if r.inflate == nil {
		r.inflate, err = zlib.NewReader(bytes.NewReader(packed))
	} else {
		err = r.inflate.(zlib.Resetter).Reset(bytes.NewReader(packed), nil)
	}
	if err != nil {
		return err
	}
	r.plain.Reset()
	n, err := io.Copy(&r.plain, io.LimitReader(r.inflate, most+1))
	if err != nil {
		return cut(err)
	}
	if n > most {
		return fmt.Errorf("it has more than %d bytes", most)
	}
	return nil
}

// cut is the error of a stream that ends too early.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	}
	return err
}
