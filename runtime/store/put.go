package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store/lockfile"
)

// Put returns the entry of meta.Key, filling it first when it is missing. fill
// gets an empty directory on the store's file system, which it may replace by
// another, and returns what the driver has made; it runs once among all callers
// in all processes. waiting, if not nil, is called once when another filler
// holds the key. filled says whether this call ran fill.
//
// If fill fails or ctx is done before the layer is in place, nothing is kept. What
// is dropped is not kept either: then there is no entry and no error. A process that
// dies while it fills gives the key free at once.
func (s *Store) Put(ctx context.Context, meta Meta, waiting func(), fill func(dir string) (platforms.Made, error)) (e *Entry, filled bool, err error) {
	k := meta.Key
	if e, err := s.Get(ctx, k); err == nil || !errors.Is(err, ErrMissing) {
		return e, false, err
	}
	unlock, err := s.Lock(ctx, k, waiting)
	if err != nil {
		return nil, false, fmt.Errorf("put layer %s: %w", k.Short(), err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if e, err := s.Get(ctx, k); err == nil || !errors.Is(err, ErrMissing) {
		return e, false, err
	}
	e, err = s.fill(ctx, meta, fill)
	if err != nil {
		return nil, true, err
	}
	return e, true, nil
}

// Lock makes the caller the only one that makes the layer k, in all processes, until
// unlock. It is for layers that are not kept in the store; Put locks by itself.
// waiting, if not nil, is called once when another holds the key.
func (s *Store) Lock(ctx context.Context, k plan.Key, waiting func()) (unlock func() error, err error) {
	once := func() {
		if waiting != nil {
			waiting()
			waiting = nil
		}
	}
	leave, err := s.fills.lock(ctx, k, once)
	if err != nil {
		return nil, err
	}
	l, err := lockfile.Acquire(ctx, filepath.Join(s.dir, locksName, k.String()), once)
	if err != nil {
		leave()
		return nil, err
	}
	return func() error {
		defer leave()
		return l.Remove()
	}, nil
}

// fill makes the layer in staging and moves it into place.
func (s *Store) fill(ctx context.Context, meta Meta, fill func(dir string) (platforms.Made, error)) (e *Entry, err error) {
	k := meta.Key
	tmp, err := s.stage("fill-" + k.Short())
	if err != nil {
		return nil, err
	}
	placed := false
	defer func() {
		if !placed {
			err = errors.Join(err, removeTree(tmp))
		}
	}()
	if meta.ParentDigest, err = s.parentDigest(meta.Parent); err != nil {
		return nil, fmt.Errorf("put layer %s: %w", k.Short(), err)
	}
	data := filepath.Join(tmp, dataName)
	if err := makeDir(data, 0o755); err != nil {
		return nil, fmt.Errorf("put layer %s: %w", k.Short(), err)
	}
	start := time.Now()
	made, err := fill(data)
	if err != nil || made.Dropped {
		return nil, err
	}
	meta.Ref, meta.Traits = made.Ref, made.Traits
	if meta.Took == 0 {
		meta.Took = time.Since(start)
	}
	if meta.Created.IsZero() {
		meta.Created = time.Now().UTC()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	st, err := s.seal(ctx, tmp, meta)
	if err != nil {
		return nil, fmt.Errorf("put layer %s: %w", k.Short(), err)
	}
	placed, err = s.place(tmp, st)
	if err != nil {
		return nil, fmt.Errorf("put layer %s: %w", k.Short(), err)
	}
	return st.entry(), nil
}

// parentDigest returns the digest of the parent layer, "" if there is none.
func (s *Store) parentDigest(parent string) (plan.Digest, error) {
	if parent == "" {
		return "", nil
	}
	k, err := plan.ParseKey(parent)
	if err != nil {
		return "", err
	}
	st, err := readRecord(s.layerDir(k), k)
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrDamaged) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	return st.Digest, nil
}

// seal writes what the store records of the layer in dir beside its content.
func (s *Store) seal(ctx context.Context, dir string, meta Meta) (*stored, error) {
	m, facts, err := scan(ctx, filepath.Join(dir, dataName))
	if err != nil {
		return nil, err
	}
	raw := m.encode()
	meta.Digest = digestOf(raw)
	meta.Size, meta.Files = m.size(), len(m.Files)
	packed, err := pack(raw)
	if err != nil {
		return nil, err
	}
	r := record{Format: format, Key: meta.Key.String(), Boot: s.boot, Meta: meta}
	b, err := encodeRecord(r)
	if err != nil {
		return nil, err
	}
	for name, data := range map[string][]byte{
		manifestName: packed,
		factsName:    encodeFacts(s.ids, facts),
		metaName:     b,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return nil, err
		}
	}
	// Reading back what was written keeps one way to make a stored.
	return readRecord(dir, meta.Key)
}

// place moves the sealed layer from tmp to where it belongs. placed says
// whether it did, even if there is an error.
func (s *Store) place(tmp string, st *stored) (placed bool, err error) {
	k := st.Meta.Key
	dir := s.layerDir(k)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return false, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return false, err
	}
	st.dir = dir
	s.mu.Lock()
	s.checked[k] = st.sum
	s.pending[k] = true
	s.mu.Unlock()
	if st.Size >= bigLayer {
		s.syncSoon()
	}
	return true, nil
}

// makeDir makes a directory with exactly the mode, whatever the umask.
func makeDir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
