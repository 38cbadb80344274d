package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"bake.build/bake/runtime/plan"

	"github.com/klauspost/compress/zstd"
)

// A Type is the type of a file in a layer.
type Type byte

// The types of files.
const (
	Regular Type = 'f'
	Dir     Type = 'd'
	Symlink Type = 'l'
	Char    Type = 'c'
	Block   Type = 'b'
	Fifo    Type = 'p'
	Socket  Type = 's'
)

// A Manifest lists what a layer holds.
type Manifest struct {
	Files []File // sorted by Path; the first is the layer's root
}

// A File is one file of a layer.
type File struct {
	Path  string // slash-separated, relative to the layer; "." for its root
	Type  Type
	Mode  uint32 // permission bits with setuid (04000), setgid (02000) and sticky (01000)
	UID   uint32
	GID   uint32
	MTime Stamp
	Size  int64 // bytes; of regular files

	Major, Minor uint32 // of devices

	Link string // target of a symbolic link

	// Hard is the path of the first name of a file with several; "" for that
	// first name itself and for files with one.
	Hard string

	Xattrs []Xattr  // sorted by name
	Digest [32]byte // SHA-256 of a regular file's content, as the package comment says
}

// A Stamp is a time as file systems keep it.
type Stamp struct {
	Sec  int64 // since 1970
	Nsec uint32
}

// An Xattr is one extended attribute: a file capability, an ACL, a user's own
// or a mark of overlayfs. Security labels and overlayfs's notes on where a
// file came from belong to the host and are left out.
type Xattr struct {
	Name  string
	Value []byte
}

// manifestMagic begins every encoded manifest.
const manifestMagic = "bake manifest 1\n"

// digestOf returns the digest of an encoded manifest.
func digestOf(raw []byte) plan.Digest {
	d := sha256.Sum256(raw)
	return plan.Digest(hex.EncodeToString(d[:]))
}

// Digest returns the digest of the canonical encoding: equal trees have equal
// digests, wherever they lie.
func (m *Manifest) Digest() plan.Digest { return digestOf(m.encode()) }

// size returns the bytes of all content, hard links counted once.
func (m *Manifest) size() int64 {
	var n int64
	for i := range m.Files {
		if m.Files[i].Hard == "" {
			n += m.Files[i].Size
		}
	}
	return n
}

// encode returns the canonical encoding.
func (m *Manifest) encode() []byte {
	e := encoder{b: make([]byte, 0, 64+128*len(m.Files))}
	e.b = append(e.b, manifestMagic...)
	e.uint(uint64(len(m.Files)))
	for i := range m.Files {
		e.file(&m.Files[i])
	}
	return e.b
}

func (e *encoder) file(f *File) {
	e.str(f.Path)
	e.b = append(e.b, byte(f.Type))
	e.uint(uint64(f.Mode))
	e.uint(uint64(f.UID))
	e.uint(uint64(f.GID))
	e.int(f.MTime.Sec)
	e.uint(uint64(f.MTime.Nsec))
	e.str(f.Hard)
	switch f.Type {
	case Regular:
		e.uint(uint64(f.Size))
		e.b = append(e.b, f.Digest[:]...)
	case Symlink:
		e.str(f.Link)
	case Char, Block:
		e.uint(uint64(f.Major))
		e.uint(uint64(f.Minor))
	}
	e.uint(uint64(len(f.Xattrs)))
	for _, x := range f.Xattrs {
		e.str(x.Name)
		e.str(string(x.Value))
	}
}

// decodeManifest reads an encoded manifest. It accepts canonical encodings
// only, so that it is the exact inverse of encode.
func decodeManifest(b []byte) (*Manifest, error) {
	if len(b) < len(manifestMagic) || string(b[:len(manifestMagic)]) != manifestMagic {
		return nil, fmt.Errorf("decode manifest: not a manifest of version 1")
	}
	d := newDecoder(b[len(manifestMagic):])
	n := d.count(9)
	m := &Manifest{Files: make([]File, n)}
	for i := range m.Files {
		d.file(&m.Files[i])
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail("bytes follow the last file")
	}
	if d.err == nil {
		d.err = m.valid()
	}
	if d.err != nil {
		return nil, fmt.Errorf("decode manifest: %w", d.err)
	}
	return m, nil
}

func (d *decoder) file(f *File) {
	f.Path = d.str()
	f.Type = Type(d.byte())
	f.Mode = d.uint32()
	f.UID = d.uint32()
	f.GID = d.uint32()
	f.MTime.Sec = d.int()
	f.MTime.Nsec = d.uint32()
	f.Hard = d.str()
	switch f.Type {
	case Regular:
		size := d.uint()
		f.Size = int64(size)
		if f.Size < 0 {
			d.fail("size %d is out of range", size)
		}
		copy(f.Digest[:], d.take(len(f.Digest)))
	case Symlink:
		f.Link = d.str()
	case Char, Block:
		f.Major = d.uint32()
		f.Minor = d.uint32()
	case Dir, Fifo, Socket:
	default:
		d.fail("unknown type %q of %q", byte(f.Type), f.Path)
	}
	n := d.count(2)
	for range n {
		f.Xattrs = append(f.Xattrs, Xattr{Name: d.str(), Value: []byte(d.str())})
	}
}

// valid checks what the encoding alone does not ensure.
func (m *Manifest) valid() error {
	if len(m.Files) == 0 || m.Files[0].Path != "." {
		return fmt.Errorf("the root is missing")
	}
	dirs := map[string]bool{".": true}
	first := map[string]int{}
	for i := range m.Files {
		f := &m.Files[i]
		if i > 0 {
			parent, name := split(f.Path)
			if name == "" || name == "." || name == ".." || !dirs[parent] {
				return fmt.Errorf("path %q has no place in the tree", f.Path)
			}
			if i > 1 && m.Files[i-1].Path >= f.Path {
				return fmt.Errorf("path %q is not in order", f.Path)
			}
		}
		if f.Type == Dir {
			dirs[f.Path] = true
		}
		first[f.Path] = i
		if f.Hard == "" {
			continue
		}
		j, ok := first[f.Hard]
		if !ok || j == i || m.Files[j].Hard != "" || m.Files[j].Type != f.Type || f.Type == Dir {
			return fmt.Errorf("path %q is a hard link to %q, which cannot be", f.Path, f.Hard)
		}
	}
	if m.Files[0].Type != Dir {
		return fmt.Errorf("the root is not a directory")
	}
	return nil
}

// split returns the directory of a path of a manifest and the last element.
func split(path string) (dir, name string) {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i], path[i+1:]
		}
	}
	return ".", path
}

// maxManifest bounds the memory that reading a manifest takes.
const maxManifest = 1 << 30

func pack(raw []byte) ([]byte, error) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	packed := w.EncodeAll(raw, nil)
	return packed, w.Close()
}

func unpack(packed []byte) ([]byte, error) {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxManifest))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.DecodeAll(packed, nil)
}
