package ovf

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
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
// The order is the standard's: descriptor, manifest, signature, disks. The first ones say
// what is known last, so room is kept for them and they are written at the end. Without a
// signer, which may be nil, there is no signature.
func WriteOVA(f io.WriteSeeker, m *Machine, s *Signer, disk func(i int, w io.Writer) error) error {
	o := NewArchive(f)
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
	manifest, signature, err := encodeSigned(m, sums, s)
	if err != nil {
		return err
	}
	if err := o.reserve(len(manifest)); err != nil {
		return err
	}
	if s != nil {
		if err := o.reserve(len(signature)); err != nil {
			return err
		}
	}
	for i := range m.Disks {
		h := sums[i+1].New()
		size, err := o.Stream(m.Disks[i].File, func(w io.Writer) error { return disk(i, io.MultiWriter(w, h)) })
		if err != nil {
			return err
		}
		m.Disks[i].Size, sums[i+1].Digest = size, NewDigest(m.Digest, h.Sum(nil))
	}
	if err := o.Close(); err != nil {
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
	if err := o.Add(names[0], descriptor); err != nil {
		return err
	}
	if manifest, signature, err = encodeSigned(m, sums, s); err != nil {
		return err
	}
	if err := o.Add(m.Name+".mf", manifest); err != nil || s == nil {
		return err
	}
	return o.Add(m.Name+".cert", signature)
}

// encodeSigned returns the manifest of m's package, and its signature unless s is nil.
func encodeSigned(m *Machine, sums []Sum, s *Signer) (manifest, signature []byte, err error) {
	manifest = EncodeManifest(sums)
	if s != nil {
		signature, err = s.Sign(m.Name+".mf", manifest, m.Digest)
	}
	return manifest, signature, err
}

const tarBlock = 512

// An Archive writes a tar archive whose members may be of a size that is known only
// once they are written.
type Archive struct {
	f  io.WriteSeeker
	at int64
}

// NewArchive returns a writer of an archive to the beginning of an empty file.
func NewArchive(f io.WriteSeeker) *Archive { return &Archive{f: f} }

// Close writes the end of the archive. The file is the caller's.
func (o *Archive) Close() error { return o.write(make([]byte, 2*tarBlock)) }

func (o *Archive) write(b []byte) error {
	n, err := o.f.Write(b)
	o.at += int64(n)
	return err
}

// blocks is what n bytes take in an archive.
func blocks(n int64) int64 { return (n + tarBlock - 1) / tarBlock * tarBlock }

// reserve keeps room for a member of n bytes.
func (o *Archive) reserve(n int) error { return o.write(make([]byte, tarBlock+blocks(int64(n)))) }

// Add writes a member.
func (o *Archive) Add(name string, data []byte) error {
	header, err := TarHeader(name, int64(len(data)))
	if err != nil {
		return err
	}
	if err := o.write(append(header, data...)); err != nil {
		return err
	}
	return o.write(make([]byte, blocks(int64(len(data)))-int64(len(data))))
}

// Stream writes a member of which fill writes the data, and returns its size.
func (o *Archive) Stream(name string, fill func(w io.Writer) error) (size int64, err error) {
	at := o.at
	if err := o.write(make([]byte, tarBlock)); err != nil {
		return 0, err
	}
	c := &counter{w: o.f}
	if err := fill(c); err != nil {
		return 0, err
	}
	o.at += c.n
	if err := o.write(make([]byte, blocks(c.n)-c.n)); err != nil {
		return 0, err
	}
	header, err := TarHeader(name, c.n)
	if err != nil {
		return 0, err
	}
	if _, err := o.f.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	if _, err := o.f.Write(header); err != nil {
		return 0, err
	}
	_, err = o.f.Seek(o.at, io.SeekStart)
	return c.n, err
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

// TarHeader returns the block before a file of size bytes.
func TarHeader(name string, size int64) ([]byte, error) {
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
