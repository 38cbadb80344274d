package ovf

import (
	"context"
	"errors"
	"hash"
	"io"
)

// A partsReader reads members one after the other and compares their digests.
type partsReader struct {
	p           *Package
	ctx         context.Context // of the one copy that it serves
	parts       []string        // left
	tell        func(done, total int64)
	done, total int64

	name   string
	now    io.ReadCloser
	left   int64
	digest Digest
	sum    hash.Hash // nil where the package has no manifest
}

func (r *partsReader) Read(b []byte) (int, error) {
	for r.now == nil {
		if len(r.parts) == 0 {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	n, err := r.now.Read(b[:min(int64(len(b)), max(r.left, 1))])
	if int64(n) > r.left {
		return 0, errors.New(r.name + ": has grown while it was read")
	}
	r.left -= int64(n)
	r.done += int64(n)
	if r.sum != nil {
		r.sum.Write(b[:n])
	}
	if r.tell != nil {
		r.tell(r.done, r.total)
	}
	if err == io.EOF && r.left > 0 {
		return n, errors.New(r.name + ": is cut short")
	}
	if r.left == 0 && (err == nil || err == io.EOF) {
		return n, r.end()
	}
	return n, err
}

// next opens the next member.
func (r *partsReader) next() (err error) {
	r.name, r.parts = r.parts[0], r.parts[1:]
	m := r.p.members[r.name]
	r.left = m.size
	r.now, err = r.p.Files.Open(r.name)
	if err != nil {
		return err
	}
	r.sum = nil
	var ok bool
	if r.digest, ok = r.p.manifest[r.name]; ok {
		r.sum = r.digest.New()
	}
	if r.left == 0 {
		return r.end()
	}
	return nil
}

// end closes a member that is read.
func (r *partsReader) end() error {
	err := r.close()
	if r.sum != nil {
		err = errors.Join(err, r.digest.Check(r.name, r.sum.Sum(nil)))
	}
	return err
}

func (r *partsReader) close() error {
	if r.now == nil {
		return nil
	}
	err := r.now.Close()
	r.now = nil
	return err
}
