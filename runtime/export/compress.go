package export

import (
	"bytes"
	"context"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"bake.build/bake/internal/blocks"
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
	var s *blocks.Writer
	switch c {
	case codecGzip:
		s = blocks.NewWriter(ctx, w, newGzip)
	case codecZstd:
		s = blocks.NewWriter(ctx, w, newZstd)
	default:
		return fill(w)
	}
	err := fill(s)
	// The compressor's error is the cause of a writer that was stopped by it.
	return blocks.FirstError(s.Close(), err)
}

func newGzip() (blocks.Compressor, error) {
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

func newZstd() (blocks.Compressor, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, err
	}
	return func(dst *bytes.Buffer, src []byte) error {
		dst.Write(z.EncodeAll(src, dst.AvailableBuffer()))
		return nil
	}, nil
}
