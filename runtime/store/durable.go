package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"bake.build/bake/runtime/plan"
)

// bigLayer is the size in bytes from which on a layer is written to the disk
// soon after Put, and syncDelay how long after.
const (
	bigLayer  = 32 << 20
	syncDelay = 2 * time.Second
)

// Sync writes the layers that this process put or found to the disk and
// records that they are there. It is called once at a build's end. A machine
// that loses power before that may have to build them again and never uses
// what it lost.
func (s *Store) Sync() error {
	s.mu.Lock()
	var keys []plan.Key
	for k := range s.pending {
		keys = append(keys, k)
	}
	s.mu.Unlock()
	if len(keys) == 0 {
		return nil
	}
	if err := syncFS(s.dir); err != nil {
		return fmt.Errorf("sync store: %w", err)
	}
	for _, k := range keys {
		if err := markDurable(s.layerDir(k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sync store: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		delete(s.pending, k)
	}
	return nil
}

// syncSoon starts a Sync in the background, unless one is to come.
func (s *Store) syncSoon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.syncing != nil {
		return
	}
	s.syncs.Add(1)
	s.syncing = time.AfterFunc(syncDelay, func() {
		defer s.syncs.Done()
		s.mu.Lock()
		s.syncing = nil
		s.mu.Unlock()
		if err := s.Sync(); err != nil {
			s.warn(err.Error())
		}
	})
}

// markDurable records that the layer in dir is on the disk. The mark itself
// may be lost: then the layer is verified once more.
func markDurable(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, durableName), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
