package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"bake.build/bake/runtime/plan"
)

// A Usage says what the store takes of the disk, in bytes as the file system
// allots them. What several layers share is counted once.
type Usage struct {
	Layers int64
	Caches int64 // downloads and package caches
	Other  int64 // staging, trash, records

	ByLayer map[plan.Key]int64
	ByCache map[string]int64
}

// Total returns the sum.
func (u Usage) Total() int64 { return u.Layers + u.Caches + u.Other }

// Usage measures the store.
func (s *Store) Usage(ctx context.Context) (Usage, error) {
	u := Usage{ByLayer: map[plan.Key]int64{}, ByCache: map[string]int64{}}
	keys, err := s.keys()
	if err != nil {
		return u, err
	}
	m := meter{seen: map[inode]bool{}}
	for _, k := range keys {
		n, err := m.tree(ctx, s.layerDir(k))
		if err != nil {
			return u, err
		}
		u.ByLayer[k] = n
		u.Layers += n
	}
	caches, err := os.ReadDir(filepath.Join(s.dir, cacheName))
	if err != nil {
		return u, err
	}
	for _, c := range caches {
		n, err := m.tree(ctx, filepath.Join(s.dir, cacheName, c.Name()))
		if err != nil {
			return u, err
		}
		u.ByCache[c.Name()] = n
		u.Caches += n
	}
	for _, name := range []string{stagingName, trashName, recordsName, locksName, leasesName, statName} {
		n, err := m.tree(ctx, filepath.Join(s.dir, name))
		if err != nil {
			return u, err
		}
		u.Other += n
	}
	return u, nil
}

// A meter adds up what files take of the disk.
type meter struct{ seen map[inode]bool }

// tree measures the file or directory path. What vanishes meanwhile takes
// nothing, and neither does what the disk cannot read: a check finds that.
func (m *meter) tree(ctx context.Context, path string) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	st, err := lstat(path)
	if errors.Is(err, fs.ErrNotExist) || isNotDir(err) || isUnreadable(err) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	if st.nlink > 1 && st.typ != Dir {
		if m.seen[st.inode()] {
			return 0, nil
		}
		m.seen[st.inode()] = true
	}
	n := st.blocks
	if st.typ != Dir {
		return n, nil
	}
	names, err := readNames(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !isUnreadable(err) {
		return 0, err
	}
	for _, name := range names {
		below, err := m.tree(ctx, filepath.Join(path, name))
		if err != nil {
			return 0, err
		}
		n += below
	}
	return n, nil
}
