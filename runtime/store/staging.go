package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/store/lockfile"
)

// ownerName is the file in a staging directory that its process locks for
// its life.
const ownerName = "owner"

// A session is the staging directory of one open store.
type session struct {
	dir   string
	owner *lockfile.Lock
}

// close removes the directory with what is left in it. If that cannot be, as
// with something mounted there, it is left to the next Open.
func (se *session) close() error {
	if err := removeTree(se.dir, ownerName); err != nil {
		return errors.Join(err, se.owner.Unlock())
	}
	err := errors.Join(se.owner.Remove(), os.Remove(se.dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // an Open took it once it had no owner
	}
	return err
}

// staging returns this process's staging directory, made when missing.
func (s *Store) staging() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil {
		se, err := s.newSession()
		if err != nil {
			return "", fmt.Errorf("make staging directory: %w", err)
		}
		s.session = se
	}
	return s.session.dir, nil
}

// stage makes a new directory in this process's staging directory.
func (s *Store) stage(prefix string) (string, error) {
	staging, err := s.staging()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(staging, prefix+"-*")
	if err != nil {
		return "", fmt.Errorf("make staging directory: %w", err)
	}
	return dir, nil
}

// newSession makes a staging directory and locks its owner file, under the
// global lock, so that sweep never sees the one without the other.
func (s *Store) newSession() (se *session, err error) {
	l, err := s.global()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	dir, err := os.MkdirTemp(filepath.Join(s.dir, stagingName), "")
	if err != nil {
		return nil, err
	}
	owner, err := lockfile.Try(filepath.Join(dir, ownerName))
	if err != nil {
		return nil, err
	} else if owner == nil {
		return nil, fmt.Errorf("lock %s: it is new and already locked", dir)
	}
	return &session{dir: dir, owner: owner}, nil
}

// plainName replaces what has no place in a file name.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, name)
}

// TempDir makes a directory on the store's file system. It is removed by
// remove, by Close, or, if this process dies, by the next Open. It is part of
// platforms.Host.
func (s *Store) TempDir(prefix string) (dir string, remove func() error, err error) {
	dir, err = s.stage("tmp-" + plainName(prefix))
	if err != nil {
		return "", nil, err
	}
	return dir, sync.OnceValue(func() error { return removeTree(dir) }), nil
}

// CacheDir returns the directory of the cache name, which outlives the
// process, made when missing. Prune leaves caches alone while a process that
// asked for one lives. It is part of platforms.Host.
func (s *Store) CacheDir(name string) (string, error) {
	if name == "" || strings.HasPrefix(name, ".") || plainName(name) != name {
		return "", fmt.Errorf("cache directory %q: the name is not a plain file name", name)
	}
	if err := s.useCaches(); err != nil {
		return "", fmt.Errorf("cache directory %s: %w", name, err)
	}
	dir := filepath.Join(s.dir, cacheName, name)
	return dir, closedDir(dir)
}

// Lent is what drivers are lent beside the store's directories. Each may be nil.
type Lent struct {
	Offline bool // no server is to be asked
	Ledger  platforms.Ledger
	Secrets func(name string) ([]byte, error)                                     // by their names
	Ask     func(ctx context.Context, question string) (answer string, err error) // the user
}

// Host returns what the runtime lends to drivers.
func (s *Store) Host(l Lent) platforms.Host { return host{s, l} }

type host struct {
	*Store
	lent Lent
}

// Secret implements platforms.Host.
func (h host) Secret(s platforms.Secret) ([]byte, error) {
	if h.lent.Secrets == nil {
		return nil, fmt.Errorf("secret %q: no secrets were given", s)
	}
	v, err := h.lent.Secrets(string(s))
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", s, err)
	}
	return v, nil
}

// Offline implements platforms.Offliner.
func (h host) Offline() bool { return h.lent.Offline }

func (h host) Ledger() platforms.Ledger { return h.lent.Ledger }

// Ask implements platforms.Host.
func (h host) Ask(ctx context.Context, question string) (string, error) {
	if h.lent.Ask == nil {
		return "", fmt.Errorf("%s: there is nobody to ask", question)
	}
	return h.lent.Ask(ctx, question)
}

// sweep removes the staging directories, locks and leases of dead processes and
// what lies in the trash. What cannot be removed is told to warn and left for
// later.
func (s *Store) sweep() error {
	if err := s.trashDead(); err != nil {
		return err
	}
	if err := s.sweepLocks(); err != nil {
		return err
	}
	return s.emptyTrash()
}

// sweepLocks removes the lock files and leases that nobody holds. Those of
// living processes are few, and none where there was no kill.
func (s *Store) sweepLocks() (err error) {
	locks, err := os.ReadDir(filepath.Join(s.dir, locksName))
	if err != nil {
		return err
	}
	leases, err := os.ReadDir(filepath.Join(s.dir, leasesName))
	if err != nil || len(locks)+len(leases) == 0 {
		return err
	}
	// Under the global lock, so that none is found between its making and its
	// locking.
	l, err := s.global()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	for _, e := range locks {
		dead, err := lockfile.Try(filepath.Join(s.dir, locksName, e.Name()))
		if err == nil && dead != nil {
			err = dead.Remove()
		}
		if err != nil && !isReadOnly(err) {
			s.warn(fmt.Sprintf("remove lock %s: %v", e.Name(), err))
		}
	}
	if _, err := s.leased(true); err != nil && !isReadOnly(err) {
		s.warn(fmt.Sprintf("remove leases: %v", err))
	}
	return nil
}

// trashDead moves the staging directories of dead processes to the trash.
func (s *Store) trashDead() (err error) {
	sessions, err := os.ReadDir(filepath.Join(s.dir, stagingName))
	if err != nil || len(sessions) == 0 {
		return err
	}
	l, err := s.global()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	for _, e := range sessions {
		dir := filepath.Join(s.dir, stagingName, e.Name())
		owner, err := lockfile.Try(filepath.Join(dir, ownerName))
		if errors.Is(err, fs.ErrNotExist) {
			continue // its process has closed it just now
		} else if err != nil {
			s.warn(fmt.Sprintf("clean staging %s: %v", e.Name(), err))
			continue
		} else if owner == nil {
			continue
		}
		err = s.toTrash(dir, stagingName)
		if err = errors.Join(err, owner.Unlock()); err != nil {
			s.warn(fmt.Sprintf("clean staging %s: %v", e.Name(), err))
		}
	}
	return nil
}

// toTrash moves a file or directory out of the way, in one step. The name in
// the trash begins with label.
func (s *Store) toTrash(path, label string) error {
	return os.Rename(path, filepath.Join(s.dir, trashName, label+"."+rand.Text()))
}

// emptyTrash removes what lies in the trash, but for layers that a running
// build uses.
func (s *Store) emptyTrash() error {
	trash, err := os.ReadDir(filepath.Join(s.dir, trashName))
	if err != nil || len(trash) == 0 {
		return err
	}
	leased, err := s.leased(false)
	if err != nil {
		return err
	}
	for _, e := range trash {
		label, _, _ := strings.Cut(e.Name(), ".")
		if leased[label] {
			continue
		}
		if err := removeTree(filepath.Join(s.dir, trashName, e.Name())); err != nil {
			s.warn(fmt.Sprintf("empty trash: %v", err))
		}
	}
	return nil
}
