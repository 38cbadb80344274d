package ovf

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// ustarMost is the largest file that a ustar header has digits for. Larger ones get a
// binary size, as of GNU tar, which VirtualBox and VMware read.
const ustarMost = 1<<33 - 1

// maxName bounds the name of a member, so that one header is all that it takes.
const maxName = 99

// WriteOVA writes the package of m as an OVA to the beginning of an empty file. disks
// writes the data of each member that m's disks name, in their order, once. The sizes of
// the members are set in m.
//
// The order is the standard's: descriptor, manifest, disks. The first two say what is
// known last, so room is kept for them and they are written at the end.
func WriteOVA(f io.WriteSeeker, m *Machine, disk func(i int, w io.Writer) error) error {
	o := &ovaWriter{f: f}
	descriptor, err := m.Encode()
	if err != nil {
		return err
	}
	names := []string{m.Name + ".ovf"}
	for _, d := range m.Disks {
		names = append(names, d.File)
	}
	sums := make([]Sum, len(names))
	for i, name := range names {
		sums[i] = Sum{Name: name, Digest: NewDigest(m.Digest, nil)}
		sums[i].Digest = NewDigest(m.Digest, make([]byte, sums[i].New().Size()))
	}
	if err := o.reserve(len(descriptor)); err != nil {
		return err
	}
	if err := o.reserve(len(EncodeManifest(sums))); err != nil {
		return err
	}
	for i := range m.Disks {
		size, sum, err := o.stream(m.Disks[i].File, sums[i+1].New(), func(w io.Writer) error { return disk(i, w) })
		if err != nil {
			return err
		}
		m.Disks[i].Size, sums[i+1].Digest = size, NewDigest(m.Digest, sum)
	}
	if err := o.write(make([]byte, 2*tarBlock)); err != nil { // the end of an archive
		return err
	}
	if descriptor, err = m.Encode(); err != nil {
		return err
	}
	h := sums[0].New()
	h.Write(descriptor)
	sums[0].Digest = NewDigest(m.Digest, h.Sum(nil))
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := o.member(names[0], descriptor); err != nil {
		return err
	}
	return o.member(m.Name+".mf", EncodeManifest(sums))
}

const tarBlock = 512

// An ovaWriter writes an archive, with room for what is known later.
type ovaWriter struct {
	f  io.WriteSeeker
	at int64
}

func (o *ovaWriter) write(b []byte) error {
	n, err := o.f.Write(b)
	o.at += int64(n)
	return err
}

// blocks is what n bytes take in an archive.
func blocks(n int64) int64 { return (n + tarBlock - 1) / tarBlock * tarBlock }

// reserve keeps room for a member of n bytes.
func (o *ovaWriter) reserve(n int) error { return o.write(make([]byte, tarBlock+blocks(int64(n)))) }

// member writes a whole member.
func (o *ovaWriter) member(name string, data []byte) error {
	header, err := tarHeader(name, int64(len(data)))
	if err != nil {
		return err
	}
	if err := o.write(append(header, data...)); err != nil {
		return err
	}
	return o.write(make([]byte, blocks(int64(len(data)))-int64(len(data))))
}

// stream writes a member whose size is known when it is written, and then its header.
func (o *ovaWriter) stream(name string, h hash.Hash, fill func(w io.Writer) error) (size int64, sum []byte, err error) {
	at := o.at
	if err := o.write(make([]byte, tarBlock)); err != nil {
		return 0, nil, err
	}
	c := &counter{w: io.MultiWriter(o.f, h)}
	if err := fill(c); err != nil {
		return 0, nil, err
	}
	o.at += c.n
	if err := o.write(make([]byte, blocks(c.n)-c.n)); err != nil {
		return 0, nil, err
	}
	header, err := tarHeader(name, c.n)
	if err != nil {
		return 0, nil, err
	}
	if _, err := o.f.Seek(at, io.SeekStart); err != nil {
		return 0, nil, err
	}
	if _, err := o.f.Write(header); err != nil {
		return 0, nil, err
	}
	_, err = o.f.Seek(o.at, io.SeekStart)
	return c.n, h.Sum(nil), err
}

// A counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// tarHeader returns the block before a file of size bytes.
func tarHeader(name string, size int64) ([]byte, error) {
	if len(name) > maxName {
		return nil, fmt.Errorf("the name %s is too long: readers of OVA take %d bytes", name, maxName)
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if size > ustarMost {
		h.Format = tar.FormatGNU
	}
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(h); err != nil {
		return nil, err
	}
	if b.Len() != tarBlock {
		return nil, errors.New("a tar header of more than one block")
	}
	return b.Bytes(), nil
}
