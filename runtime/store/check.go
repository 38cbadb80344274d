package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
)

// check compares the layer's files with its manifest. A file whose facts are
// those of its last hashing is taken as unchanged unless all is set. The error
// is ErrDamaged if the layer is not what was recorded; any other error says
// that it could not be told.
func (s *Store) check(ctx context.Context, st *stored, all bool) error {
	m, err := readManifest(st.dir, st.Digest)
	if err != nil {
		return err
	}
	known, ids := s.readFacts(st.dir, len(m.Files))
	c := checker{
		dir: filepath.Join(st.dir, dataName), m: m, known: known, all: all || known == nil,
		owners: known == nil || ids == s.ids,
		now:    make([]fact, len(m.Files)), inodes: make([]inode, len(m.Files)),
	}
	err = parallel(ctx, len(m.Files), 128, func(h *hasher, i int) error { return c.file(ctx, h, i) })
	if isUnreadable(err) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	} else if err != nil {
		return err
	}
	if !c.changed.Load() && !c.all {
		return nil
	}
	if err := c.links(); err != nil {
		return err
	}
	if known != nil && slices.Equal(known, c.now) {
		return nil
	}
	// The owners were not compared under another mapping, so they stay tied to
	// the mapping that they were recorded under.
	if !c.owners {
		return nil
	}
	if err := s.writeFile(filepath.Join(st.dir, factsName), encodeFacts(s.ids, c.now)); err != nil {
		// The layer is sound. Without the facts, as on a full disk, the next
		// process reads it all again.
		s.warn(fmt.Sprintf("layer %s is slow to check: %v", st.Meta.Key.Short(), err))
	}
	return nil
}

type checker struct {
	dir    string
	m      *Manifest
	known  []fact // nil if there are none
	all    bool   // trust no facts
	owners bool   // owners can be compared

	now     []fact
	inodes  []inode
	changed atomic.Bool // some facts differ
}

func damaged(path, what string) error { return fmt.Errorf("%w: %s: %s", ErrDamaged, path, what) }

// file checks the file i of the manifest.
func (c *checker) file(ctx context.Context, h *hasher, i int) error {
	want := &c.m.Files[i]
	path := c.dir + "/" + want.Path
	st, err := lstat(path)
	if errors.Is(err, fs.ErrNotExist) || isNotDir(err) {
		return damaged(want.Path, "it is missing")
	} else if err != nil {
		return err
	}
	c.now[i], c.inodes[i] = st.fact(), st.inode()
	got := st.file(want.Path)
	if what := differs(&got, want, c.owners); what != "" {
		return damaged(want.Path, what+" differs")
	}
	if !c.all && c.known[i] == c.now[i] {
		return nil
	}
	c.changed.Store(true)
	if err := h.fill(ctx, c.dir, &got, &st); err != nil {
		return err
	}
	switch {
	case got.Link != want.Link:
		return damaged(want.Path, "target differs")
	case got.Digest != want.Digest:
		return damaged(want.Path, "content differs")
	case !slices.EqualFunc(got.Xattrs, want.Xattrs, func(a, b Xattr) bool {
		return a.Name == b.Name && bytes.Equal(a.Value, b.Value)
	}):
		return damaged(want.Path, "an extended attribute differs")
	}
	if want.Type == Dir {
		return c.children(want.Path)
	}
	return nil
}

// differs names what of a file differs that lstat shows, or is "".
func differs(got, want *File, owners bool) string {
	switch {
	case got.Type != want.Type:
		return "type"
	case got.Mode != want.Mode:
		return "mode"
	case owners && (got.UID != want.UID || got.GID != want.GID):
		return "owner"
	case got.Size != want.Size:
		return "size"
	case got.MTime != want.MTime:
		return "time"
	case got.Major != want.Major || got.Minor != want.Minor:
		return "device"
	}
	return ""
}

// children looks for files in a directory that the manifest does not list. A
// directory with the facts of its last check has none: they would show in its
// times.
func (c *checker) children(dir string) error {
	names, err := readNames(filepath.Join(c.dir, dir))
	if err != nil {
		return err
	}
	for _, name := range names {
		path := join(dir, name)
		_, ok := slices.BinarySearchFunc(c.m.Files[1:], path, func(f File, p string) int {
			switch {
			case f.Path < p:
				return -1
			case f.Path > p:
				return 1
			}
			return 0
		})
		if !ok {
			return damaged(path, "it does not belong there")
		}
	}
	return nil
}

// links checks that the names of one file are names of one file still, and of
// no other.
func (c *checker) links() error {
	at := map[string]int{}
	first := map[inode]int{}
	for i := range c.m.Files {
		f := &c.m.Files[i]
		if f.Type == Dir || c.inodes[i] == (inode{}) {
			continue
		}
		if f.Hard == "" {
			if j, ok := first[c.inodes[i]]; ok {
				return damaged(f.Path, "it is a hard link to "+c.m.Files[j].Path)
			}
			first[c.inodes[i]], at[f.Path] = i, i
		} else if c.inodes[at[f.Hard]] != c.inodes[i] {
			return damaged(f.Path, "it is no hard link to "+f.Hard)
		}
	}
	return nil
}

// factsMagic begins every file of facts.
const factsMagic = "bake facts 1\n"

// encodeFacts returns the content of the file of facts. ids is the mapping of
// owners that they were recorded under.
func encodeFacts(ids string, facts []fact) []byte {
	e := encoder{b: make([]byte, 0, 64+20*len(facts))}
	e.b = append(e.b, factsMagic...)
	e.str(ids)
	e.uint(uint64(len(facts)))
	for _, f := range facts {
		e.uint(f.ino)
		e.int(f.ctime.Sec)
		e.uint(uint64(f.ctime.Nsec))
	}
	return e.b
}

func decodeFacts(b []byte) (ids string, facts []fact, err error) {
	if len(b) < len(factsMagic) || string(b[:len(factsMagic)]) != factsMagic {
		return "", nil, fmt.Errorf("decode facts: not of version 1")
	}
	d := newDecoder(b[len(factsMagic):])
	ids = d.str()
	facts = make([]fact, d.count(3))
	for i := range facts {
		facts[i] = fact{d.uint(), Stamp{d.int(), d.uint32()}}
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail("bytes follow the last fact")
	}
	if d.err != nil {
		return "", nil, fmt.Errorf("decode facts: %w", d.err)
	}
	return ids, facts, nil
}

// readFacts returns the facts of a layer of n files, nil if they are missing
// or unreadable: then everything is hashed and they are written again.
func (s *Store) readFacts(dir string, n int) (facts []fact, ids string) {
	b, err := os.ReadFile(filepath.Join(dir, factsName))
	if err != nil {
		return nil, ""
	}
	ids, facts, err = decodeFacts(b)
	if err != nil || len(facts) != n {
		return nil, ""
	}
	return facts, ids
}
