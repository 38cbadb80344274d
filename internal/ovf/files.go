package ovf

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/internal/regular"
)

// maxMembers bounds the files of an archive.
const maxMembers = 4096

// Files are the regular files of a tar archive, or of a folder without those below it.
// No name leads out of it, and links are not followed.
type Files struct {
	members map[string]member
	archive *os.File // nil for a folder
}

// A member is a part of an archive, or a file of its own.
type member struct {
	path     string
	at, size int64
}

// OpenFolder lists the files of a folder.
func OpenFolder(dir string) (*Files, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	p := &Files{members: map[string]member{}}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || isAppleDouble(e.Name()) {
			continue // what is missing is told where it is needed
		}
		p.members[e.Name()] = member{path: filepath.Join(dir, e.Name()), size: info.Size()}
	}
	return p, nil
}

// OpenArchive lists the members of a tar archive, which stays open until Close.
func OpenArchive(name string) (*Files, error) {
	f, err := regular.Open(name)
	if err != nil {
		return nil, err
	}
	p := &Files{members: map[string]member{}, archive: f}
	if err := p.list(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return p, nil
}

// Close closes the archive.
func (p *Files) Close() error {
	if p.archive == nil {
		return nil
	}
	return p.archive.Close()
}

func (p *Files) list() error {
	info, err := p.archive.Stat()
	if err != nil {
		return err
	}
	t := tar.NewReader(p.archive)
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			return nil
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
		if err := p.add(h, info.Size()); err != nil {
			return err
		}
	}
}

// isAppleDouble reports whether a file holds the attributes of another one, which macOS
// puts beside it: ._web.ovf is no descriptor.
func isAppleDouble(name string) bool { return strings.HasPrefix(path.Base(name), "._") }

// add notes a member of an archive of total bytes, whose data come next.
func (p *Files) add(h *tar.Header, total int64) error {
	if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if h.Typeflag != tar.TypeReg {
		return fmt.Errorf("the member %q is not a regular file", h.Name)
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return fmt.Errorf("the member %q has holes, which only GNU tar reads", h.Name)
		}
	}
	name, err := memberName(h.Name)
	if err != nil {
		return err
	}
	if isAppleDouble(name) {
		return nil
	}
	if _, twice := p.members[name]; twice {
		return fmt.Errorf("has two members called %q", name)
	}
	// A tar.Reader reads headers only, and no more of the file than that.
	at, err := p.archive.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if at > total-h.Size {
		return fmt.Errorf("is cut short: the archive ends within %s", name)
	}
	p.members[name] = member{at: at, size: h.Size}
	return nil
}

// Names returns the names of the files, sorted.
func (p *Files) Names() []string { return slices.Sorted(maps.Keys(p.members)) }

// Has reports whether there is a file of that name.
func (p *Files) Has(name string) bool {
	_, ok := p.members[name]
	return ok
}

// Path returns the path of a file of a folder, "" for a member of an archive.
func (p *Files) Path(name string) string { return p.members[name].path }

// Bytes returns the content of a file of at most most bytes.
func (p *Files) Bytes(name string, most int64) (_ []byte, err error) {
	m, ok := p.members[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("%s is not there", name)
	case m.size > most:
		return nil, fmt.Errorf("%s has %d bytes, and %d are the most that bake reads", name, m.size, most)
	}
	r, err := p.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	b := make([]byte, m.size)
	_, err = io.ReadFull(r, b)
	return b, err
}

// Open opens a file for reading.
func (p *Files) Open(name string) (io.ReadCloser, error) {
	m, ok := p.members[name]
	if !ok {
		return nil, fmt.Errorf("%s is not there", name)
	}
	if m.path != "" {
		return regular.Open(m.path)
	}
	return io.NopCloser(io.NewSectionReader(p.archive, m.at, m.size)), nil
}
