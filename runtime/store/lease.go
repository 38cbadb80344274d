package store

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store/lockfile"
)

const (
	leaseSuffix = ".keys" // of the list of keys
	leaseLock   = ".lock" // of the lock file beside it
)

// Lease keeps the layers keys and all their ancestors from Prune until release
// is called or this process ends. A key may be leased before its layer exists.
func (s *Store) Lease(keys ...plan.Key) (release func() error, err error) {
	var list bytes.Buffer
	for _, k := range keys {
		fmt.Fprintln(&list, k)
	}
	l, err := s.global()
	if err != nil {
		return nil, fmt.Errorf("lease layers: %w", err)
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	name := rand.Text()
	path := filepath.Join(s.dir, leasesName, name)
	if err := os.WriteFile(path+leaseSuffix, list.Bytes(), 0o600); isReadOnly(err) {
		return func() error { return nil }, nil // nothing is removed from there
	} else if err != nil {
		return nil, fmt.Errorf("lease layers: %w", err)
	}
	held, err := lockfile.Try(path + leaseLock)
	if err == nil && held == nil {
		err = errors.New("the lock of a new lease is taken")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lease layers: %w", err), os.Remove(path+leaseSuffix))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[name] = true
	return sync.OnceValue(func() error {
		s.mu.Lock()
		delete(s.leases, name)
		s.mu.Unlock()
		return errors.Join(os.Remove(path+leaseSuffix), held.Remove())
	}), nil
}

// leased returns the hex keys of all live leases, or of those of others only,
// and removes the leases of dead processes. The caller holds the global lock
// if the answer has to stay true.
func (s *Store) leased(own bool) (map[string]bool, error) {
	dir := filepath.Join(s.dir, leasesName)
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	keys := map[string]bool{}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), leaseSuffix)
		if !ok {
			continue
		}
		s.mu.Lock()
		mine := s.leases[name]
		s.mu.Unlock()
		if mine && !own {
			continue
		}
		path := filepath.Join(dir, name)
		list, err := os.ReadFile(path + leaseSuffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue // released just now
		} else if err != nil {
			return nil, err
		}
		if !mine {
			dead, err := buryLease(path)
			if err != nil {
				return nil, err
			}
			if dead {
				continue
			}
		}
		for _, k := range strings.Fields(string(list)) {
			keys[k] = true
		}
	}
	return keys, nil
}

// buryLease removes the lease at path if its holder is dead.
func buryLease(path string) (dead bool, err error) {
	l, err := lockfile.Try(path + leaseLock)
	if err != nil || l == nil {
		return false, err
	}
	err = os.Remove(path + leaseSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return true, errors.Join(err, l.Remove())
}
