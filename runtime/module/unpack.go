package module

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"

	"bake.build/bake/platforms/image/fetch"
)

// maxWindow bounds the memory that a zstd frame may ask for.
const maxWindow = 64 << 20

// unpack writes what the archive f has, a tar, which may be compressed with gzip or
// zstd, or a zip.
func unpack(ctx context.Context, w *writer, f *os.File) error {
	head := make([]byte, 4)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if bytes.HasPrefix(head, []byte("PK")) {
		return unzip(ctx, w, f)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r := io.Reader(&fetch.Reader{Ctx: ctx, R: f})
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		r = z
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer z.Close()
		r = z
	}
	body := &bounded{r: r, left: 2*w.maxBytes + int64(w.maxFiles)*4096}
	if err := untar(w, body); err != nil {
		return err
	}
	// A compressor has its own end. Some programs write a tar without one.
	if _, plain := r.(*fetch.Reader); plain && body.zeros < tarEnd {
		return fmt.Errorf("the archive ends early: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

// A bounded reader fails where an archive has more than a module's: what is left out
// costs time too.
type bounded struct {
	r     io.Reader
	left  int64
	zeros int // at the end of what was read
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("it unpacks to more than any module: it was made to fill a disk")
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	rest := len(bytes.TrimRight(p[:n], "\x00"))
	if rest > 0 {
		b.zeros = 0
	}
	b.zeros += n - rest
	return n, err
}

// tarEnd is how many zeros a tar ends in.
const tarEnd = 1024

func untar(w *writer, r io.Reader) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			// What follows is padding; a compressor's checksum comes behind it.
			_, err := io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		if err := w.count(); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		p := entryPath(h.Name)
		if p == "" || isGit(p) {
			continue
		}
		if err := w.tarEntry(h, p, t); err != nil {
			return err
		}
	}
}

func (w *writer) tarEntry(h *tar.Header, p string, r io.Reader) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return w.file(p, h.Mode&0o100 != 0, r)
	case tar.TypeDir:
		return checkPath(p)
	case tar.TypeSymlink:
		return w.link(p, h.Linkname)
	case tar.TypeLink:
		return w.hardLink(p, entryPath(h.Linkname))
	}
	return fmt.Errorf("path %q: it is a %s, and a module has files and links only", p, kindOf(h.FileInfo().Mode()))
}

// entryPath returns the path of an archive's entry without what says nothing: a "./"
// at its beginning, a slash at its end. Nothing that leads elsewhere is taken away.
func entryPath(name string) string {
	for strings.HasPrefix(name, "./") {
		name = name[len("./"):]
	}
	if name = strings.TrimSuffix(name, "/"); name == "." {
		return ""
	}
	return name
}

// maxDirectory is how many bytes the list of files of a zip has at most. It is held in
// memory.
const maxDirectory = 16 << 20

func unzip(ctx context.Context, w *writer, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	at := &metered{r: f, left: maxDirectory}
	z, err := zip.NewReader(at, info.Size())
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return err
	}
	at.left = -1
	for _, entry := range z.File {
		if err := errors.Join(ctx.Err(), w.count()); err != nil {
			return err
		}
		p := entryPath(entry.Name)
		if p == "" || isGit(p) {
			continue
		}
		if err := w.zipEntry(entry, p); err != nil {
			return err
		}
	}
	return nil
}

// metered fails after some bytes, unless left is negative.
type metered struct {
	r    io.ReaderAt
	left int64
}

// ReadAt implements io.ReaderAt.
func (m *metered) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.r.ReadAt(p, off)
	if m.left < 0 {
		return n, err
	}
	if m.left -= int64(n); m.left < 0 {
		m.left = 0
		return 0, fmt.Errorf("its list of files has more than %d bytes", maxDirectory)
	}
	return n, err
}

func (w *writer) zipEntry(entry *zip.File, p string) (err error) {
	mode := entry.Mode()
	switch {
	case entry.Flags&1 != 0:
		return fmt.Errorf("path %q: it is encrypted", p)
	case mode.IsDir() || strings.HasSuffix(entry.Name, "/"):
		return checkPath(p)
	case mode.Type() != 0 && mode.Type() != fs.ModeSymlink:
		return fmt.Errorf("path %q: it is a %s, and a module has files and links only", p, kindOf(mode))
	}
	r, err := entry.Open()
	if err != nil {
		return fmt.Errorf("path %q: %w", p, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if mode.Type() == 0 {
		return w.file(p, mode&0o100 != 0, r)
	}
	target, err := io.ReadAll(io.LimitReader(r, maxPath*16))
	if err != nil {
		return fmt.Errorf("path %q: %w", p, err)
	}
	return w.link(p, string(target))
}
