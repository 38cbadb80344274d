package drivers

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// archiveModules returns the modules in an initial file system, which is one cpio
// archive or several, each compressed or not, as of the kernel's document
// "initramfs buffer format". It returns nil for a compression that is not read here.
func archiveModules(r io.Reader) (set, error) {
	found := set{}
	known, err := readArchives(bufio.NewReaderSize(r, 64<<10), found, 0)
	if err != nil || !known {
		return nil, err
	}
	return found, nil
}

// readArchives adds the modules of all archives in r.
func readArchives(b *bufio.Reader, found set, depth int) (known bool, err error) {
	for {
		c, err := b.ReadByte()
		if errors.Is(err, io.EOF) {
			return true, nil
		} else if err != nil {
			return false, err
		}
		if c == 0 {
			continue // between archives
		}
		if err := b.UnreadByte(); err != nil {
			return false, err
		}
		head, err := b.Peek(6)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if isNewc(head) {
			if err := readCPIO(b, found); err != nil {
				return false, err
			}
			continue
		}
		inner, err := decompress(b, head)
		if err != nil || inner == nil || depth > 0 {
			return false, err
		}
		defer inner.Close() // only read
		return readArchives(bufio.NewReaderSize(inner, 64<<10), found, depth+1)
	}
}

// decompress returns nil for what it does not know. lz4, lzma, lzo and xz would each
// take a library or a program.
func decompress(r io.Reader, head []byte) (io.ReadCloser, error) {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(r)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(r)), nil
	}
	return nil, nil
}

// isNewc recognises a header of a cpio archive, with checksums or without.
func isNewc(head []byte) bool {
	return bytes.HasPrefix(head, []byte("070701")) || bytes.HasPrefix(head, []byte("070702"))
}

// readCPIO adds the modules of one archive of the format newc.
func readCPIO(b *bufio.Reader, found set) error {
	const headerSize, sizeAt, nameAt, maxName = 110, 54, 94, 4096
	header := make([]byte, headerSize)
	for {
		if _, err := io.ReadFull(b, header); err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		size, err := strconv.ParseUint(string(header[sizeAt:sizeAt+8]), 16, 32)
		length, err2 := strconv.ParseUint(string(header[nameAt:nameAt+8]), 16, 32)
		if err = errors.Join(err, err2); err != nil || !isNewc(header) || length == 0 || length > maxName {
			return errors.New("read archive: a header is damaged")
		}
		// The name and the content each end at a multiple of four.
		name := make([]byte, length+padding(headerSize+length))
		if _, err := io.ReadFull(b, name); err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		file := string(name[:length-1])
		if file == "TRAILER!!!" {
			return nil
		}
		found.add(file)
		if _, err := io.CopyN(io.Discard, b, int64(size+padding(size))); err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
	}
}

func padding(n uint64) uint64 { return -n & 3 }
