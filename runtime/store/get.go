package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"bake.build/bake/runtime/plan"
)

// Get returns the entry of k after a check that its files are as they were
// recorded, or an error that is ErrMissing. A damaged layer is dropped, told
// to warn, and missing; so is a layer whose parent has been built again since
// and came out differently.
//
// The check is made once per process. What Get returns stays until this
// process's lease of k is released; without a lease Prune may remove it. If ctx is
// done before the end of the check, that is the error.
func (s *Store) Get(ctx context.Context, k plan.Key) (*Entry, error) {
	unlock, err := s.checks.lock(ctx, k, nil)
	if err != nil {
		return nil, err
	}
	defer unlock()
	st, err := s.get(ctx, k)
	if errors.Is(err, ErrDamaged) {
		if err := s.drop(k, st, err); err != nil {
			return nil, fmt.Errorf("drop layer %s: %w", k.Short(), err)
		}
		return nil, fmt.Errorf("layer %s: %w", k.Short(), ErrMissing)
	} else if err != nil {
		return nil, err
	}
	return st.entry(), nil
}

// get returns the layer k, checked and touched. If it is damaged, the stored
// tells which filling was, or is nil when its record is unreadable.
func (s *Store) get(ctx context.Context, k plan.Key) (*stored, error) {
	st, err := readRecord(s.layerDir(k), k)
	if err != nil {
		return nil, err
	}
	if err := s.onParent(st); err != nil {
		return st, err
	}
	s.mu.Lock()
	known := s.checked[k] == st.sum
	s.mu.Unlock()
	if known {
		return st, nil
	}
	// A layer that was written under another boot and not known to be on the
	// disk may have lost content that its file sizes and times do not show.
	durable := st.durable()
	lost := !durable && (s.boot == "" || st.Boot != s.boot)
	if err := s.check(ctx, st, lost); err != nil {
		return st, s.notGone(st, err)
	}
	if lost {
		// What was read now came from the disk.
		if err := markDurable(st.dir); err != nil {
			s.warn(fmt.Sprintf("layer %s is slow to check: %v", k.Short(), err))
		}
	}
	if err := st.touch(); isUnreadable(err) {
		return st, s.notGone(st, fmt.Errorf("%w: %w", ErrDamaged, err))
	} else if err != nil && !isReadOnly(err) {
		return st, s.notGone(st, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked[k] = st.sum
	if !durable && !lost {
		s.pending[k] = true
	}
	return st, nil
}

// notGone turns the error of a check into ErrMissing if the layer was taken
// away meanwhile, by Prune or by a process that found it damaged.
func (s *Store) notGone(st *stored, err error) error {
	if !s.same(st) {
		return fmt.Errorf("layer %s: %w", st.Meta.Key.Short(), ErrMissing)
	}
	return err
}

// same reports whether the layer in place is still the filling st.
func (s *Store) same(st *stored) bool {
	now, err := readRecord(s.layerDir(st.Meta.Key), st.Meta.Key)
	return err == nil && now.sum == st.sum
}

// onParent fails if the parent in the store is not the one that the layer was
// made on. A parent that is missing is the caller's concern.
func (s *Store) onParent(st *stored) error {
	if st.ParentDigest == "" {
		return nil
	}
	now, err := s.parentDigest(st.Parent)
	if err != nil {
		return err
	}
	if now != "" && now != st.ParentDigest {
		return fmt.Errorf("%w: its parent was built again and differs", ErrDamaged)
	}
	return nil
}

// drop removes the damaged layer k from the store unless another filling than
// st has taken its place.
func (s *Store) drop(k plan.Key, st *stored, why error) (err error) {
	moved, err := s.discard(k, st)
	if err != nil || !moved {
		return err
	}
	what := k.Short()
	if st != nil && st.Name != "" {
		what += " (" + st.Name + ")"
	}
	s.warn(fmt.Sprintf("layer %s is dropped and will be built again: %v", what, why))
	return s.emptyTrash()
}

// discard moves the layer k to the trash if it is still the filling st; nil
// stands for a layer without a readable record.
func (s *Store) discard(k plan.Key, st *stored) (moved bool, err error) {
	l, err := s.global()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	dir := s.layerDir(k)
	now, err := readRecord(dir, k)
	switch {
	case errors.Is(err, ErrMissing):
		return false, nil
	case err != nil && !errors.Is(err, ErrDamaged):
		return false, err
	case st == nil && err == nil, st != nil && err == nil && now.sum != st.sum:
		return false, nil
	}
	s.mu.Lock()
	delete(s.checked, k)
	delete(s.pending, k)
	s.mu.Unlock()
	return true, s.toTrash(dir, k.String())
}

// Drop removes the layer k from the store, if it is there. Layers made on it
// stay.
func (s *Store) Drop(k plan.Key) error {
	st, err := readRecord(s.layerDir(k), k)
	if errors.Is(err, ErrMissing) {
		return nil
	} else if err != nil && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("drop layer %s: %w", k.Short(), err)
	}
	if _, err := s.discard(k, st); err != nil {
		return fmt.Errorf("drop layer %s: %w", k.Short(), err)
	}
	return s.emptyTrash()
}

// ReadManifest returns what the layer e holds, as it was recorded: sorted by
// path, with the digests of all content, without reading any of it.
func ReadManifest(e *Entry) (*Manifest, error) {
	m, err := readManifest(filepath.Dir(e.Dir), e.Digest)
	if err != nil {
		return nil, fmt.Errorf("read manifest of layer %s: %w", e.Key.Short(), err)
	}
	return m, nil
}

func readManifest(dir string, want plan.Digest) (*Manifest, error) {
	packed, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing", ErrDamaged, manifestName)
	} else if isUnreadable(err) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	} else if err != nil {
		return nil, err
	}
	raw, err := unpack(packed)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, manifestName, err)
	}
	if digestOf(raw) != want {
		return nil, fmt.Errorf("%w: %s: digest differs", ErrDamaged, manifestName)
	}
	m, err := decodeManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, manifestName, err)
	}
	return m, nil
}
