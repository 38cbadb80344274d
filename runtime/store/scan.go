package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// NewManifest lists the tree below dir and hashes its content, on all cores.
func NewManifest(ctx context.Context, dir string) (*Manifest, error) {
	m, _, err := scan(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("make manifest of %s: %w", dir, err)
	}
	return m, nil
}

// scan makes the manifest of the tree below dir, and the facts of its files in
// the same order.
func scan(ctx context.Context, dir string) (*Manifest, []fact, error) {
	w := walker{root: dir}
	st, err := lstat(dir)
	if err != nil {
		return nil, nil, err
	}
	if st.typ != Dir {
		return nil, nil, fmt.Errorf("%s: not a directory", dir)
	}
	w.add(".", st)
	if err := w.walk(ctx, "."); err != nil {
		return nil, nil, err
	}
	// The root comes first, whatever the others are called.
	sort.Slice(w.files[1:], func(i, j int) bool { return w.files[i+1].path < w.files[j+1].path })
	m := &Manifest{Files: make([]File, len(w.files))}
	facts := make([]fact, len(w.files))
	first := map[inode]string{}
	for i := range w.files {
		f := &w.files[i]
		m.Files[i] = f.stat.file(f.path)
		facts[i] = f.stat.fact()
		if f.stat.nlink > 1 && f.stat.typ != Dir && f.stat.inode() != (inode{}) {
			if name, ok := first[f.stat.inode()]; ok {
				m.Files[i].Hard = name
			} else {
				first[f.stat.inode()] = f.path
			}
		}
	}
	err = parallel(ctx, len(w.files), 32, func(h *hasher, i int) error {
		return h.fill(ctx, dir, &m.Files[i], &w.files[i].stat)
	})
	if err != nil {
		return nil, nil, err
	}
	m.shareDigests()
	return m, facts, nil
}

// shareDigests gives every name of a file what was found under its first.
func (m *Manifest) shareDigests() {
	at := map[string]int{}
	for i := range m.Files {
		f := &m.Files[i]
		if f.Hard == "" {
			continue
		}
		if len(at) == 0 {
			for j := range m.Files {
				at[m.Files[j].Path] = j
			}
		}
		f.Digest, f.Xattrs = m.Files[at[f.Hard]].Digest, m.Files[at[f.Hard]].Xattrs
	}
}

type walked struct {
	path string
	stat stat
}

type walker struct {
	root  string
	files []walked
}

func (w *walker) add(path string, st stat) { w.files = append(w.files, walked{path, st}) }

func (w *walker) walk(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := readNames(filepath.Join(w.root, dir))
	if err != nil {
		return err
	}
	for _, name := range names {
		path := join(dir, name)
		st, err := lstat(w.root + "/" + path)
		if err != nil {
			return err
		}
		w.add(path, st)
		if st.typ == Dir {
			if err := w.walk(ctx, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// join returns the path in a manifest of name in dir.
func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

func readNames(dir string) (names []string, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Readdirnames(-1)
}

// file returns the part of a File that needs no opening.
func (st *stat) file(path string) File {
	return File{
		Path: path, Type: st.typ, Mode: st.mode, UID: st.uid, GID: st.gid, MTime: st.mtime, Size: st.size,
		Major: st.major, Minor: st.minor,
	}
}

// parallel calls do for 0 to n-1 on all cores, each worker with a hasher of
// its own. Workers take batches, since most calls are short.
func parallel(ctx context.Context, n, batch int, do func(h *hasher, i int) error) error {
	workers := min(runtime.GOMAXPROCS(0), (n+batch-1)/batch)
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error {
			h := &hasher{sum: sha256.New()}
			for {
				begin := int(next.Add(int64(batch))) - batch
				if begin >= n {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				for i := begin; i < min(begin+batch, n); i++ {
					if err := do(h, i); err != nil {
						return err
					}
				}
			}
		})
	}
	return g.Wait()
}

// A hasher reads what of a file has to be read, with buffers that it keeps.
type hasher struct {
	sum hash.Hash
	buf []byte
}

// zeros is what holes are made of. It is never written.
var zeros [64 << 10]byte

// fill sets what of f has to be read from the file in dir. It leaves out what
// other names of the file have too.
func (h *hasher) fill(ctx context.Context, dir string, f *File, st *stat) (err error) {
	if h.buf == nil {
		h.buf = make([]byte, 128<<10)
	}
	if f.Hard != "" {
		return nil
	}
	path := dir + "/" + f.Path
	if f.Type == Symlink {
		if f.Link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	if f.Xattrs, err = xattrs(path, h.buf[:4<<10:4<<10]); err != nil {
		return err
	}
	if f.Type == Regular {
		f.Digest, err = h.content(ctx, path, st)
	}
	return err
}

// largeFile is the size from which on zeros are left out of a file's digest.
const largeFile = 1 << 30

// content returns the digest of a regular file's content. Holes are not read, though
// they count as the zeros that they stand for: a file has one digest, be its zeros
// written or not.
func (h *hasher) content(ctx context.Context, path string, st *stat) (d [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h.sum.Reset()
	add := h.read
	if st.size >= largeFile {
		add = h.pieces
	}
	done := int64(0)
	for off := int64(0); off < st.size; {
		data, hole := off, st.size
		if st.blocks < st.size {
			if data, hole, err = nextData(f, off, st.size); err != nil {
				return d, fmt.Errorf("hash %s: %w", path, err)
			}
		}
		off = min(hole, st.size)
		data = min(data, st.size)
		if st.size >= largeFile { // whole pieces, and none twice
			data, hole = max(done, data&^(pieceSize-1)), min((off+pieceSize-1)&^(pieceSize-1), st.size)
		} else if err := h.zeros(ctx, data-done); err != nil {
			return d, err
		}
		if data >= st.size {
			break
		}
		hole = min(hole, st.size)
		if err := add(ctx, f, data, hole); err != nil {
			return d, fmt.Errorf("hash %s: %w", path, err)
		}
		done = max(done, hole)
	}
	h.sum.Sum(d[:0])
	return d, nil
}

// pieceSize is what the digest of a large file is made of.
const pieceSize = int64(len(zeros))

// pieces adds the pieces between begin and end that hold more than zeros, each with
// its number before it.
func (h *hasher) pieces(ctx context.Context, f *os.File, begin, end int64) error {
	for ; begin < end; begin += pieceSize {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := h.buf[:min(end-begin, pieceSize)]
		if n, err := f.ReadAt(b, begin); n < len(b) {
			if errors.Is(err, io.EOF) {
				return fmt.Errorf("it ends at byte %d of %d: %w", begin+int64(n), end, io.ErrUnexpectedEOF)
			}
			return err
		}
		if bytes.Equal(b, zeros[:len(b)]) {
			continue
		}
		h.sum.Write(binary.BigEndian.AppendUint64(nil, uint64(begin/pieceSize)))
		h.sum.Write(b)
	}
	return nil
}

func (h *hasher) zeros(ctx context.Context, n int64) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		c := min(n, int64(len(zeros)))
		h.sum.Write(zeros[:c])
		n -= c
	}
	return nil
}

func (h *hasher) read(ctx context.Context, f *os.File, begin, end int64) error {
	for begin < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.ReadAt(h.buf[:min(end-begin, int64(len(h.buf)))], begin)
		h.sum.Write(h.buf[:n])
		begin += int64(n)
		if errors.Is(err, io.EOF) && begin < end {
			return fmt.Errorf("it ends at byte %d of %d: %w", begin, end, io.ErrUnexpectedEOF)
		} else if err != nil && begin < end {
			return err
		}
	}
	return nil
}
