package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"bake.build/bake/internal/regular"
)

// ErrChanged says that an input is not what it was when it was hashed.
var ErrChanged = errors.New("changed since the plan was made")

// Stream calls visit with each entry of the input, in the order of Entries.
// For a regular file, content gives exactly the bytes that e.Info.Size()
// promises, and visit reads all of it; otherwise content is nil. The error is
// ErrChanged when what was streamed is not what the input's digest says, which
// is known only at the end: what visit made of it must then be dropped.
func (in *Input) Stream(ctx context.Context, visit func(e Entry, content io.Reader) error) error {
	entries, err := in.Entries()
	if err != nil {
		return err
	}
	h := sha256.New()
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		writeEntry(h, e)
		if !e.Info.Mode().IsRegular() {
			if err := visit(e, nil); err != nil {
				return err
			}
			continue
		}
		d, err := streamFile(e, visit)
		if err != nil {
			return err
		}
		writeString(h, string(d))
	}
	if Digest(hex.EncodeToString(h.Sum(nil))) != in.Digest {
		return fmt.Errorf("%s: %w", in.Path, ErrChanged)
	}
	return nil
}

func streamFile(e Entry, visit func(e Entry, content io.Reader) error) (d Digest, err error) {
	f, err := regular.Open(e.Path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	r := &exactReader{r: io.TeeReader(f, h), left: e.Info.Size(), path: e.Path}
	if err := visit(e, r); err != nil {
		return "", err
	}
	// A file that grew hashes to what was promised of it if the rest is left out.
	if n, err := io.Copy(io.Discard, io.LimitReader(f, 1)); err != nil {
		return "", err
	} else if n > 0 || r.left > 0 {
		return "", fmt.Errorf("%s: %w", e.Path, ErrChanged)
	}
	return Digest(hex.EncodeToString(h.Sum(nil))), nil
}

// An exactReader ends after left bytes, and fails when there are fewer.
type exactReader struct {
	r    io.Reader
	left int64
	path string
}

func (x *exactReader) Read(p []byte) (int, error) {
	if x.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > x.left {
		p = p[:x.left]
	}
	n, err := x.r.Read(p)
	x.left -= int64(n)
	if err == io.EOF && x.left > 0 {
		err = fmt.Errorf("%s: %w", x.path, ErrChanged)
	} else if err == io.EOF {
		err = nil
	}
	return n, err
}
