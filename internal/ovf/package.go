package ovf

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/internal/regular"
)

// A Package is an OVA, or the folder of a descriptor, that is open for reading.
type Package struct {
	*Files
	Envelope *Envelope
	Text     []byte // the descriptor
	name     string // of the descriptor
	manifest Manifest
}

// Open opens the OVA, or the package whose descriptor is the file path. What it is
// follows from the content. The descriptor's digest is checked; those of members are
// when they are read.
func Open(path string) (_ *Package, err error) {
	text, err := startsXML(path)
	if err != nil {
		return nil, err
	}
	p := &Package{}
	if text {
		if p.Files, err = OpenFolder(filepath.Dir(path)); err != nil {
			return nil, err
		}
		p.name = filepath.Base(path)
	} else if p.Files, err = OpenArchive(path); err != nil {
		return nil, err
	} else if p.name, err = p.descriptor(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if err := p.read(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// startsXML reports whether a file begins as XML does.
func startsXML(path string) (_ bool, err error) {
	f, err := regular.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	start := make([]byte, 512)
	n, err := io.ReadFull(f, start)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return false, err
	}
	text := strings.TrimLeft(strings.TrimPrefix(string(start[:n]), "\ufeff"), " \t\r\n")
	return strings.HasPrefix(text, "<"), nil
}

// descriptor returns the name of the archive's descriptor.
func (p *Package) descriptor() (string, error) {
	var found []string
	for _, name := range p.Names() {
		if strings.EqualFold(filepath.Ext(name), ".ovf") {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return "", errors.New("is not an OVA: the archive has no file with the end .ovf")
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("has two descriptors, %s and %s", found[0], found[1])
}

// read reads the manifest and the descriptor.
func (p *Package) read() error {
	base := strings.TrimSuffix(p.name, filepath.Ext(p.name))
	if p.Has(base + ".mf") {
		text, err := p.Bytes(base+".mf", maxManifest)
		if err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		if p.manifest, err = ParseManifest(text); err != nil {
			return err
		}
		if err := p.verify(base, text); err != nil {
			return err
		}
		for _, name := range p.sortedManifest() {
			if _, ok := p.members[name]; !ok {
				return fmt.Errorf("the manifest names %s, and the package does not have it", name)
			}
		}
	}
	text, err := p.Bytes(p.name, maxDescriptor)
	if err != nil {
		return fmt.Errorf("descriptor: %w", err)
	}
	if d, ok := p.manifest[p.name]; ok {
		h := d.New()
		h.Write(text)
		if err := d.Check(p.name, h.Sum(nil)); err != nil {
			return err
		}
	} else if p.manifest != nil {
		return fmt.Errorf("the manifest has no digest of %s", p.name)
	}
	if p.Envelope, err = Parse(text); err != nil {
		return err
	}
	p.Text = text
	p.Envelope.decodeNames(p.Has)
	for _, f := range p.Envelope.Files {
		if err := p.has(f); err != nil {
			return err
		}
	}
	return nil
}

// verify checks the signature of the manifest, if there is one.
func (p *Package) verify(base string, manifest []byte) error {
	if !p.Has(base + ".cert") {
		return nil
	}
	text, err := p.Bytes(base+".cert", maxCertificate)
	if err == nil {
		err = verify(text, base+".mf", manifest)
	}
	if err != nil {
		return fmt.Errorf("%s.cert: %w", base, err)
	}
	return nil
}

func (p *Package) sortedManifest() []string {
	var names []string
	for name := range p.manifest {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// has fails where the package lacks a file that the descriptor names, or has another
// one in its place.
func (p *Package) has(f File) error {
	parts, err := p.parts(f)
	if err != nil {
		return err
	}
	var size int64
	for _, name := range parts {
		size += p.members[name].size
		if _, ok := p.manifest[name]; !ok && p.manifest != nil {
			return fmt.Errorf("the manifest has no digest of %s", name)
		}
	}
	if f.Size != 0 && f.Size != size {
		return fmt.Errorf("%s has %d bytes, and the descriptor says %d", f.Name, size, f.Size)
	}
	return nil
}

// parts returns the members that a file is in: itself, or its chunks.
func (p *Package) parts(f File) ([]string, error) {
	if f.ChunkSize == 0 {
		if _, ok := p.members[f.Name]; !ok {
			return nil, fmt.Errorf("the descriptor names %s, and the package does not have it", f.Name)
		}
		return []string{f.Name}, nil
	}
	var parts []string
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s.%09d", f.Name, i)
		if _, ok := p.members[name]; !ok {
			break
		}
		parts = append(parts, name)
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("the descriptor names %s in chunks, and the package does not have the first one", f.Name)
	}
	return parts, nil
}

// Copy writes the data of the file called name, unpacked, and checks the digests of all
// that it reads. progress may be nil.
func (p *Package) Copy(ctx context.Context, w io.Writer, name string, progress func(done, total int64)) error {
	f, ok := p.Envelope.File(name)
	if !ok {
		return fmt.Errorf("the descriptor does not name %s", name)
	}
	parts, err := p.parts(f)
	if err != nil {
		return err
	}
	r := &partsReader{p: p, ctx: ctx, parts: parts, total: f.Size, tell: progress}
	for _, part := range parts {
		r.total = max(r.total, p.members[part].size)
	}
	most, err := p.unpackedMost(name)
	if err != nil {
		return errors.Join(err, r.close())
	}
	err = unpack(w, r, f.Compression, most)
	// All is read to its end, so that the digests are compared.
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	return errors.Join(err, r.close())
}

// unpackedMost bounds what the image of a disk holds that is compressed as a file, in
// bytes. Images have some per cent of their disk beside the data.
func (p *Package) unpackedMost(name string) (int64, error) {
	const beside = 64 << 20
	m, err := p.Envelope.Machine()
	if err != nil {
		return 0, err
	}
	for _, d := range m.Disks {
		if d.File == name && d.Capacity > 0 {
			return d.Capacity + d.Capacity/16 + beside, nil
		}
	}
	return math.MaxInt64, nil
}

// unpack writes what r has, which may be compressed, and is at most most bytes then.
func unpack(w io.Writer, r io.Reader, compression string, most int64) error {
	if cmp.Or(compression, "identity") == "identity" {
		_, err := io.Copy(w, r)
		return err
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	n, err := io.Copy(w, io.LimitReader(z, most))
	if err == nil && n == most {
		err = errors.New("holds more than the disk that the descriptor speaks of")
	}
	return errors.Join(err, z.Close())
}
