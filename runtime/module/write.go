package module

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/starlark/module"
)

// A writer writes a tree into an empty directory. What it is given may be hostile:
// nothing is written outside of the directory, nothing through a link, and no more
// than the limits. Links are made last.
type writer struct {
	dir   string
	root  *os.Root
	names *names
	files []File
	made  map[string]bool // directories

	entries  int   // of an archive, what is left out included
	bytes    int64 // that are written
	maxFiles int
	maxBytes int64
}

func newWriter(dir string) (*writer, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &writer{dir: dir, root: root, names: newNames(), made: map[string]bool{}, maxFiles: maxFiles, maxBytes: maxBytes}, nil
}

// Close releases the directory.
func (w *writer) Close() error { return w.root.Close() }

// count counts an entry of an archive.
func (w *writer) count() error {
	if w.entries++; w.entries > w.maxFiles {
		return fmt.Errorf("it has more than %d files, which no module has", w.maxFiles)
	}
	return nil
}

// file writes a file with what r has.
func (w *writer) file(p string, exec bool, r io.Reader) error {
	if err := w.enter(p); err != nil {
		return err
	}
	f := File{Path: p, Exec: exec}
	err := w.create(&f, r)
	w.files = append(w.files, f)
	return err
}

// enter takes a path and makes the directories above it.
func (w *writer) enter(p string) error {
	if err := w.names.add(p); err != nil {
		return err
	}
	dir := path.Dir(p)
	if w.made[dir] {
		return nil
	}
	if err := w.root.MkdirAll(filepath.FromSlash(dir), 0o755); err != nil {
		return err
	}
	for ; dir != "." && !w.made[dir]; dir = path.Dir(dir) {
		w.made[dir] = true
		// Permissions are inputs of keys: the umask must not show in them.
		if err := w.root.Chmod(filepath.FromSlash(dir), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) create(f *File, r io.Reader) (err error) {
	mode := fs.FileMode(0o644)
	if f.Exec {
		mode = 0o755
	}
	out, err := w.root.OpenFile(filepath.FromSlash(f.Path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, h), io.LimitReader(r, w.maxBytes-w.bytes+1))
	if err != nil {
		return err
	}
	if w.bytes += n; w.bytes > w.maxBytes {
		return fmt.Errorf("its files have more than %d bytes, which no module has", w.maxBytes)
	}
	f.Sum = hex.EncodeToString(h.Sum(nil))
	return out.Chmod(mode)
}

// link notes a symbolic link.
func (w *writer) link(p, target string) error {
	if target == "" {
		return fmt.Errorf("link %q: it has no target", p)
	}
	if err := w.enter(p); err != nil {
		return err
	}
	w.files = append(w.files, File{Path: p, Link: target})
	return nil
}

// hardLink writes the file p once more, as the file of is.
func (w *writer) hardLink(p, of string) (err error) {
	for _, f := range w.files {
		if f.Path != of || f.Link != "" {
			continue
		}
		r, err := w.root.Open(filepath.FromSlash(of))
		if err != nil {
			return err
		}
		return errors.Join(w.file(p, f.Exec, r), r.Close())
	}
	return fmt.Errorf("link %q to %q: want a file that comes before it", p, of)
}

// finish makes the links and returns the directory that is the module: the one with
// bake.mod, which is the whole tree or the only directory at its top, as in archives
// that forges make. The tree is that of this directory.
func (w *writer) finish() (dir string, digest module.Digest, err error) {
	dir = w.dir
	if !w.names.files[module.FileName] {
		top, ok := w.onlyTop()
		if !ok || !w.names.files[top+"/"+module.FileName] {
			return "", "", fmt.Errorf("it is no module: it has no %s", module.FileName)
		}
		dir = filepath.Join(dir, top)
		for i := range w.files {
			w.files[i].Path = strings.TrimPrefix(w.files[i].Path, top+"/")
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, nested := range w.dropNested() {
		if err := root.RemoveAll(filepath.FromSlash(nested)); err != nil {
			return "", "", err
		}
	}
	if err := checkLinks(w.files); err != nil {
		return "", "", err
	}
	for _, f := range w.files {
		if f.Link == "" {
			continue
		}
		if err := root.Symlink(filepath.FromSlash(f.Link), filepath.FromSlash(f.Path)); err != nil {
			return "", "", fmt.Errorf("make link: %w", err)
		}
	}
	return dir, digestOf(w.files), nil
}

// dropNested drops the files of modules below, and returns the directories of those.
func (w *writer) dropNested() []string {
	paths := make([]string, len(w.files))
	for i, f := range w.files {
		paths[i] = f.Path
	}
	nested := nestedIn(paths)
	w.files = slices.DeleteFunc(w.files, func(f File) bool { return nested.has(f.Path) })
	return slices.Collect(maps.Keys(nested))
}

// onlyTop returns the directory that all files are in.
func (w *writer) onlyTop() (string, bool) {
	top := ""
	for _, f := range w.files {
		first, _, ok := strings.Cut(f.Path, "/")
		if !ok || top != "" && first != top {
			return "", false
		}
		top = first
	}
	return top, top != ""
}
