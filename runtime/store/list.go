package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"bake.build/bake/runtime/plan"
)

// keys returns the keys of the layers in place, in order.
func (s *Store) keys() ([]plan.Key, error) {
	fans, err := os.ReadDir(filepath.Join(s.dir, layersName))
	if err != nil {
		return nil, err
	}
	var keys []plan.Key
	for _, fan := range fans {
		names, err := os.ReadDir(filepath.Join(s.dir, layersName, fan.Name()))
		if isUnreadable(err) {
			// What lies in it cannot be found any more, so it is as good as missing.
			s.warn(fmt.Sprintf("layers are lost: %v", err))
			continue
		} else if err != nil {
			return nil, err
		}
		for _, e := range names {
			if k, err := plan.ParseKey(e.Name()); err == nil && s.layerDir(k) == filepath.Join(s.dir, layersName, fan.Name(), e.Name()) {
				keys = append(keys, k)
			}
		}
	}
	return keys, nil
}

// List returns the layers, the last used first, without the check. A layer
// whose record is unreadable is left out; Verify and Get drop it.
func (s *Store) List() ([]*Entry, error) {
	keys, err := s.keys()
	if err != nil {
		return nil, err
	}
	var list []*Entry
	for _, k := range keys {
		st, err := readRecord(s.layerDir(k), k)
		if errors.Is(err, ErrMissing) || errors.Is(err, ErrDamaged) {
			continue
		} else if err != nil {
			return nil, err
		}
		list = append(list, st.entry())
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Used.After(list[j].Used) })
	return list, nil
}

// Verify checks every layer and drops the damaged ones. With all set it reads
// and hashes all content; otherwise it trusts the facts of unchanged files, as
// Get does. report, if not nil, is called for each layer, with the error that
// is ErrDamaged if it was dropped; of a layer whose record is unreadable it
// gets the key only. A layer whose parent is missing stays.
func (s *Store) Verify(ctx context.Context, all bool, report func(e Entry, err error)) error {
	keys, err := s.keys()
	if err != nil {
		return err
	}
	var other error
	for _, k := range keys {
		e, err := s.verify(ctx, k, all)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrMissing):
			continue // taken away meanwhile
		case err != nil && !errors.Is(err, ErrDamaged):
			other = errors.Join(other, err)
		}
		if report != nil {
			report(e, err)
		}
	}
	return other
}

func (s *Store) verify(ctx context.Context, k plan.Key, all bool) (Entry, error) {
	unlock, err := s.checks.lock(ctx, k, nil)
	if err != nil {
		return Entry{}, err
	}
	defer unlock()
	bare := Entry{Meta: Meta{Key: k}, Dir: filepath.Join(s.layerDir(k), dataName)}
	st, err := readRecord(s.layerDir(k), k)
	if err == nil {
		bare = *st.entry()
		if err = s.onParent(st); err == nil {
			err = s.check(ctx, st, all)
		}
		if err != nil {
			err = s.notGone(st, err)
		}
	}
	if errors.Is(err, ErrDamaged) {
		return bare, errors.Join(err, s.drop(k, st, err))
	}
	return bare, err
}
