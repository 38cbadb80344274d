package vdi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// A medium is one that is open.
type medium struct {
	*Header
	f     *os.File
	table []byte
	size  int64 // of the file
}

// ReadChain writes the disk that the media at the paths hold, the oldest first, to disk,
// which is empty. What is zero is left as a hole. Each medium but the first must be one of
// differences to that before it. progress may be nil.
func ReadChain(ctx context.Context, disk *os.File, paths []string, progress func(done, total int64)) (err error) {
	if len(paths) == 0 {
		return errors.New("a chain without a medium")
	}
	var chain []*medium
	defer func() {
		for _, m := range chain {
			err = errors.Join(err, m.f.Close())
		}
	}()
	for i, path := range paths {
		m, err := open(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		chain = append(chain, m)
		if want := ([16]byte{}); i > 0 {
			want = chain[i-1].ID
			if m.Parent != want {
				return fmt.Errorf("%s: is not a medium of differences to %s", path, paths[i-1])
			}
		} else if m.Parent != want {
			return fmt.Errorf("%s: is a medium of differences to one that is not there", path)
		}
	}
	top := chain[len(chain)-1]
	if err := disk.Truncate(top.Size); err != nil {
		return err
	}
	buf := make([]byte, top.blockSize)
	for at := int64(0); at < top.Size; at += top.blockSize {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		b := buf[:min(top.blockSize, top.Size-at)]
		if some, err := read(chain, b, at); err != nil {
			return err
		} else if some {
			if _, err := disk.WriteAt(b, at); err != nil {
				return err
			}
		}
		if progress != nil {
			progress(at+int64(len(b)), top.Size)
		}
	}
	return nil
}

func open(path string) (_ *medium, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	m := &medium{f: f}
	if m.Header, err = ReadHeader(f); err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if m.size = info.Size(); m.mapOffset+4*m.blocks > m.size {
		return nil, errors.New("is cut short: its map is not in the file")
	}
	m.table = make([]byte, 4*m.blocks)
	if _, err := f.ReadAt(m.table, m.mapOffset); err != nil && err != io.EOF {
		return nil, err
	}
	return m, nil
}

// read fills b with the disk's bytes from at on. It reports false, and leaves b alone,
// where they are zero. Media of a chain may have blocks of other sizes than the last.
func read(chain []*medium, b []byte, at int64) (some bool, err error) {
	clear(b)
	for done := int64(0); done < int64(len(b)); {
		offset, n, m, err := find(chain, at+done, int64(len(b))-done)
		if err != nil {
			return false, err
		}
		if m != nil {
			if _, err := m.f.ReadAt(b[done:done+n], offset); err != nil {
				return false, fmt.Errorf("%s: %w", m.f.Name(), err)
			}
			some = some || !isZero(b[done:done+n])
		}
		done += n
	}
	return some, nil
}

// find returns the medium that has the disk's byte at, where it lies there, and how many
// of the most bytes from there on are found the same way. The medium is nil for zeros.
func find(chain []*medium, at, most int64) (offset, n int64, m *medium, err error) {
	n = most
	for i := len(chain) - 1; i >= 0; i-- {
		m := chain[i]
		n = min(n, m.blockSize-at%m.blockSize)
		index := at / m.blockSize
		if index >= m.blocks {
			return 0, n, nil, nil // the disk has grown since
		}
		switch entry := binary.LittleEndian.Uint32(m.table[4*index:]); entry {
		case unallocated:
		case zero:
			return 0, n, nil, nil
		default:
			offset := m.data + int64(entry)*(m.blockSize+m.extra) + m.extra + at%m.blockSize
			if offset+n > m.size {
				return 0, 0, nil, fmt.Errorf("%s: is cut short or damaged: it lacks a block", m.f.Name())
			}
			return offset, n, m, nil
		}
	}
	return 0, n, nil, nil
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
