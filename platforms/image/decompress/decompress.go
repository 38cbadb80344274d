// Package decompress reads files that may be compressed: with gzip, zstd, xz or
// bzip2, as their first bytes say.
package decompress

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory of a zstd decoder: what "zstd --long=27" needs.
const maxWindow = 128 << 20

// headSize is how many first bytes of a file tell how it is compressed.
const headSize = 6

// A format is a way to compress.
type format int

const (
	plain format = iota
	gzipped
	zstandard
	xz
	bzipped
)

// formatOf tells the format by the first bytes of a file.
func formatOf(head []byte) format {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzipped
	case isZstd(head):
		return zstandard
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return xz
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzipped
	}
	return plain
}

// Compressed reports whether Reader would decompress the file at path.
func Compressed(path string) (yes bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	head := make([]byte, headSize)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return false, err
	}
	return formatOf(head[:n]) != plain, nil
}

// Reader returns what r holds: decompressed, or as it is. The caller closes it.
func Reader(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(headSize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch formatOf(head) {
	case gzipped:
		return gzip.NewReader(b)
	case zstandard:
		d, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case xz:
		return startXZ(ctx, b)
	case bzipped:
		return io.NopCloser(bzip2.NewReader(b)), nil
	}
	return io.NopCloser(b), nil
}

// isZstd recognises a frame, skippable ones included (RFC 8878, 3.1).
func isZstd(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	return bytes.Equal(head[:4], []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18})
}

// startXZ decompresses through the program xz, which is three times as fast as
// what there is in Go.
func startXZ(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	cmd := exec.CommandContext(ctx, "xz", "--decompress", "--stdout", "--quiet")
	x := &xzReader{cmd: cmd}
	cmd.Stdin, cmd.Stderr = r, &x.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	x.out = out
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, errors.New("decompress: xz is not installed (apt-get install xz-utils)")
		}
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return x, nil
}

// An xzReader is the output of xz. An error of xz takes the place of its EOF,
// so that a damaged file is not taken for a short one.
type xzReader struct {
	cmd    *exec.Cmd
	out    io.ReadCloser
	stderr bytes.Buffer
	done   bool
}

func (x *xzReader) Read(p []byte) (int, error) {
	if x.done {
		return 0, io.EOF
	}
	n, err := x.out.Read(p)
	if err == io.EOF {
		x.done = true
		if werr := x.cmd.Wait(); werr != nil {
			return n, fmt.Errorf("decompress: xz: %s: %w", strings.TrimSpace(x.stderr.String()), werr)
		}
	}
	return n, err
}

// Close ends xz, which may have more to say than was read.
func (x *xzReader) Close() error {
	if x.done {
		return nil
	}
	x.done = true
	err := x.out.Close()
	x.cmd.Wait() // ended by the closed pipe
	return err
}
