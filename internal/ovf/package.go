package ovf

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/internal/regular"
)

// maxMembers bounds the files of an OVA.
const maxMembers = 4096

// A Package is an OVA, or the folder of a descriptor, that is open for reading.
type Package struct {
	Envelope *Envelope
	name     string // of the descriptor
	manifest Manifest
	members  map[string]member
	file     *os.File // the OVA
}

// A member is a file of the package: a part of the OVA, or a file of its own.
type member struct {
	path     string
	at, size int64
}

// IsOVA reports whether a file has the name of a package's descriptor or archive.
func IsOVA(name string) bool {
	ext := strings.ToLower(filepath.Ext(name))
	return ext == ".ova" || ext == ".ovf"
}

// Open opens the OVA, or the package whose descriptor is the file path. What it is
// follows from the content. The descriptor's digest is checked; those of members are
// when they are read.
func Open(path string) (_ *Package, err error) {
	f, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	p := &Package{members: map[string]member{}, file: f}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	start := make([]byte, 512)
	n, err := io.ReadFull(f, start)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, err
	}
	if text := strings.TrimLeft(strings.TrimPrefix(string(start[:n]), "\ufeff"), " \t\r\n"); strings.HasPrefix(text, "<") {
		err = p.folder(path)
	} else if _, err = f.Seek(0, io.SeekStart); err == nil {
		err = p.archive()
	}
	if err != nil {
		return nil, err
	}
	return p, p.read()
}

// Close closes the package.
func (p *Package) Close() error { return p.file.Close() }

// folder finds the files beside a descriptor. They are named by it and by the manifest.
func (p *Package) folder(path string) error {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // a link may lead anywhere; what is missing is told where it is needed
		}
		p.members[e.Name()] = member{path: filepath.Join(dir, e.Name()), size: info.Size()}
	}
	p.name = filepath.Base(path)
	if _, ok := p.members[p.name]; !ok {
		info, err := p.file.Stat()
		if err != nil {
			return err
		}
		p.members[p.name] = member{path: path, size: info.Size()}
	}
	return nil
}

// archive lists the members of an OVA.
func (p *Package) archive() error {
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	t := tar.NewReader(p.file)
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			break
		} else if errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("is cut short: the archive ends within a file")
		} else if err != nil && n == 0 {
			return fmt.Errorf("is neither an OVA nor an OVF descriptor: %w", err)
		} else if err != nil {
			return fmt.Errorf("is damaged: %w", err)
		}
		if n >= maxMembers {
			return fmt.Errorf("has more than %d files", maxMembers)
		}
		if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if h.Typeflag != tar.TypeReg {
			return fmt.Errorf("the member %q is not a regular file", h.Name)
		}
		name, err := memberName(h.Name)
		if err != nil {
			return err
		}
		if _, twice := p.members[name]; twice {
			return fmt.Errorf("has two members called %q", name)
		}
		// A tar.Reader reads headers only, and no more of the file than that.
		at, err := p.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if at > info.Size()-h.Size {
			return fmt.Errorf("is cut short: the archive ends within %s", name)
		}
		p.members[name] = member{at: at, size: h.Size}
		if strings.EqualFold(filepath.Ext(name), ".ovf") {
			if p.name != "" {
				return fmt.Errorf("has two descriptors, %s and %s", p.name, name)
			}
			p.name = name
		}
	}
	if p.name == "" {
		return errors.New("is not an OVA: the archive has no file with the end .ovf")
	}
	return nil
}

// read reads the manifest and the descriptor.
func (p *Package) read() error {
	base := strings.TrimSuffix(p.name, filepath.Ext(p.name))
	if m, ok := p.members[base+".mf"]; ok {
		text, err := p.bytes(m, maxManifest)
		if err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		if p.manifest, err = ParseManifest(text); err != nil {
			return err
		}
		for _, name := range p.sortedManifest() {
			if _, ok := p.members[name]; !ok {
				return fmt.Errorf("the manifest names %s, and the package does not have it", name)
			}
		}
	}
	text, err := p.bytes(p.members[p.name], maxDescriptor)
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
	for _, f := range p.Envelope.Files {
		if err := p.has(f); err != nil {
			return err
		}
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

// bytes returns a member of at most most bytes.
func (p *Package) bytes(m member, most int64) (_ []byte, err error) {
	if m.size > most {
		return nil, fmt.Errorf("has %d bytes, and %d are the most that bake reads", m.size, most)
	}
	r, err := p.open(m)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	b := make([]byte, m.size)
	_, err = io.ReadFull(r, b)
	return b, err
}

func (p *Package) open(m member) (io.ReadCloser, error) {
	if m.path != "" {
		return regular.Open(m.path)
	}
	return io.NopCloser(io.NewSectionReader(p.file, m.at, m.size)), nil
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
	err = unpack(w, r, f.Compression)
	// All is read to its end, so that the digests are compared.
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	return errors.Join(err, r.close())
}

// unpack writes what r has, which may be compressed.
func unpack(w io.Writer, r io.Reader, compression string) error {
	if cmp.Or(compression, "identity") == "identity" {
		_, err := io.Copy(w, r)
		return err
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, z)
	return errors.Join(err, z.Close())
}
