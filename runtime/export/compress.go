package export

import (
	"bytes"
	"context"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A codec is a way to compress a stream.
type codec string

const (
	codecNone codec = ""
	codecGzip codec = "gzip"
	codecZstd codec = "zstd"
)

// compress gives fill a writer whose data reaches w compressed, on every CPU,
// as a row of gzip members or zstd frames, which decoders read as one stream.
func (c codec) compress(ctx context.Context, w io.Writer, fill func(w io.Writer) error) error {
	var s *splitter
	switch c {
	case codecGzip:
		s = newSplitter(ctx, w, newGzip)
	case codecZstd:
		s = newSplitter(ctx, w, newZstd)
	default:
		return fill(w)
	}
	err := fill(s)
	// The compressor's error is the cause of a writer that was stopped by it.
	return firstError(s.Close(), err)
}

func newGzip() (compressor, error) {
	const level = 5
	z, err := gzip.NewWriterLevel(io.Discard, level)
	if err != nil {
		return nil, err
	}
	return func(dst *bytes.Buffer, src []byte) error {
		z.Reset(dst)
		if _, err := z.Write(src); err != nil {
			return err
		}
		return z.Close()
	}, nil
}

func newZstd() (compressor, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, err
	}
	return func(dst *bytes.Buffer, src []byte) error {
		dst.Write(z.EncodeAll(src, dst.AvailableBuffer()))
		return nil
	}, nil
}
