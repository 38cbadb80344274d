package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"

	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store/lockfile"
)

// PruneOptions say what Prune removes. Each condition removes layers by
// itself; with none of them nothing is removed.
type PruneOptions struct {
	All     bool          // every layer that may go
	MaxAge  time.Duration // layers and records that were not used for longer; 0 means no limit
	MaxSize int64         // the layers last used, up to so many bytes, stay; 0 means no limit
	Caches  bool          // drivers' caches too, if no process uses them
	DryRun  bool          // tell what would go and remove nothing
}

// Pruned tells what Prune removed, or would.
type Pruned struct {
	Layers []*Entry // in the order in which they went
	Caches []string
	Bytes  int64 // what that frees on the disk
	Kept   int   // layers that should have gone and are in use
}

// Prune removes layers, those not used for longest first. It removes neither
// what a lease names nor an ancestor of a layer that stays. Records that nobody has
// used for three months go with any call.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (Pruned, error) {
	var p Pruned
	// Measuring is slow, so it is done before the global lock is taken.
	u, err := s.Usage(ctx)
	if err != nil {
		return p, fmt.Errorf("prune store: %w", err)
	}
	if err := s.pruneLayers(o, u, &p); err != nil {
		return p, fmt.Errorf("prune store: %w", err)
	}
	if o.Caches {
		if err := s.pruneCaches(o, u, &p); err != nil {
			return p, fmt.Errorf("prune caches: %w", err)
		}
	}
	if o.DryRun {
		return p, nil
	}
	if err := s.pruneRecords(o); err != nil {
		return p, fmt.Errorf("prune records: %w", err)
	}
	return p, s.emptyTrash()
}

// pruneLayers moves layers to the trash under the global lock, so that a lease
// is either seen here or finds the layers gone.
func (s *Store) pruneLayers(o PruneOptions, u Usage, p *Pruned) (err error) {
	l, err := s.global()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	leased, err := s.leased(true)
	if err != nil {
		return err
	}
	keys, err := s.keys()
	if err != nil {
		return err
	}
	// A layer that was put since the measuring stays, and so does its chain.
	for _, k := range keys {
		if _, ok := u.ByLayer[k]; !ok {
			leased[k.String()] = true
		}
	}
	layers, err := s.family(keys, leased)
	if err != nil {
		return err
	}
	total := u.Layers
	now := time.Now()
	for _, v := range layers {
		old := o.MaxAge > 0 && now.Sub(v.last) > o.MaxAge
		big := o.MaxSize > 0 && total > o.MaxSize
		if !o.All && !old && !big {
			continue
		}
		if v.used {
			p.Kept++
			continue
		}
		total -= u.ByLayer[v.Key]
		p.Bytes += u.ByLayer[v.Key]
		p.Layers = append(p.Layers, &v.Entry)
		if o.DryRun {
			continue
		}
		s.mu.Lock()
		delete(s.checked, v.Key)
		delete(s.pending, v.Key)
		s.mu.Unlock()
		if err := s.toTrash(s.layerDir(v.Key), v.Key.String()); err != nil {
			return err
		}
	}
	return nil
}

// A member is a layer as Prune sees it.
type member struct {
	Entry
	last  time.Time // last use of the layer or of one made on it
	used  bool      // leased, or an ancestor of what is
	depth int       // number of ancestors
}

// family returns the layers in an order in which they may be removed: those
// not used for longest first, and every layer after those that are made on it.
func (s *Store) family(keys []plan.Key, leased map[string]bool) ([]*member, error) {
	byKey := map[string]*member{}
	var all []*member
	for _, k := range keys {
		v := &member{Entry: Entry{Meta: Meta{Key: k}, Dir: filepath.Join(s.layerDir(k), dataName)}}
		st, err := readRecord(s.layerDir(k), k)
		if err == nil {
			v.Entry = *st.entry()
		} else if errors.Is(err, ErrMissing) {
			continue
		} else if !errors.Is(err, ErrDamaged) {
			return nil, err
		}
		v.last = v.Used
		byKey[k.String()] = v
		all = append(all, v)
	}
	for _, v := range all {
		used := leased[v.Key.String()]
		v.used = v.used || used
		depth := 0
		// The bound on the depth ends a circle, which no sound record has.
		for a := byKey[v.Parent]; a != nil && depth < len(all); a = byKey[a.Parent] {
			depth++
			a.used = a.used || used
			if v.Used.After(a.last) {
				a.last = v.Used
			}
		}
		v.depth = depth
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i], all[j]
		switch {
		case !a.last.Equal(b.last):
			return a.last.Before(b.last)
		case a.depth != b.depth:
			return a.depth > b.depth
		}
		return a.Key.String() < b.Key.String()
	})
	return all, nil
}

// cachesLock is the name of the lock that each process holds in shared
// fashion while it may use caches: one file per process.
const cachesLock = "caches-"

// useCaches keeps Prune from the caches until Close.
func (s *Store) useCaches() (err error) {
	s.mu.Lock()
	held := s.cacheUse != nil
	s.mu.Unlock()
	if held {
		return nil
	}
	l, err := s.global()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cacheUse != nil {
		return nil
	}
	f, err := os.CreateTemp(filepath.Join(s.dir, locksName), cachesLock+"*")
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	s.cacheUse, err = lockfile.Try(f.Name())
	return err
}

// pruneCaches moves the caches to the trash unless a process uses them.
func (s *Store) pruneCaches(o PruneOptions, u Usage, p *Pruned) (err error) {
	l, err := s.global()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	users, err := filepath.Glob(filepath.Join(s.dir, locksName, cachesLock+"*"))
	if err != nil {
		return err
	}
	for _, path := range users {
		user, err := lockfile.Try(path)
		if err != nil {
			return err
		} else if user == nil {
			s.warn("caches stay: a build uses them")
			return nil
		}
		if err := user.Remove(); err != nil {
			return err
		}
	}
	caches, err := os.ReadDir(filepath.Join(s.dir, cacheName))
	if err != nil {
		return err
	}
	for _, c := range caches {
		p.Caches = append(p.Caches, c.Name())
		p.Bytes += u.ByCache[c.Name()]
		if o.DryRun {
			continue
		}
		if err := s.toTrash(filepath.Join(s.dir, cacheName, c.Name()), cacheName); err != nil {
			return err
		}
	}
	return nil
}
