package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store/lockfile"
)

// A Meta is what the store records beside a layer.
type Meta struct {
	Key      plan.Key      `json:"-"`
	Kind     string        `json:"kind"`          // the op's kind
	Name     string        `json:"name"`          // the step's name
	Platform string        `json:"platform"`      // name of the driver that reads it
	Parent   string        `json:"parent"`        // hex key of the parent layer, "" for the first of a chain
	Ref      string        `json:"ref,omitempty"` // the driver's reference
	Preimage plan.Preimage `json:"preimage"`
	Created  time.Time     `json:"created"`
	Took     time.Duration `json:"took"` // how long the step ran, nanoseconds

	// Traits are what the driver said that the layer is. One that an earlier bake has
	// made has none.
	Traits platforms.Traits `json:"traits,omitzero"`

	// Set by Put.
	Size   int64       `json:"size"`   // bytes of content, hard links counted once
	Files  int         `json:"files"`  // entries
	Digest plan.Digest `json:"digest"` // of the manifest

	// ParentDigest is the Digest of the parent that the layer was made on, "" if
	// the parent was not in the store then. Set by Put.
	ParentDigest plan.Digest `json:"parent_digest,omitempty"`
}

// An Entry is one whole layer in the store.
type Entry struct {
	Meta
	Dir  string    // absolute path of the layer's content, read-only
	Used time.Time // last use
}

// Layer returns the entry as drivers see it.
func (e *Entry) Layer() platforms.Layer {
	return platforms.Layer{Key: e.Key.String(), Dir: e.Dir, Ref: e.Ref, Traits: e.Traits}
}

// ErrMissing says that a layer or a record is not in the store.
var ErrMissing = errors.New("not in the store")

// ErrDamaged says that a layer is not what was recorded of it.
var ErrDamaged = errors.New("damaged")

// A Store is the local layer cache. It is safe for concurrent use, by any
// number of processes.
type Store struct {
	dir  string
	warn func(string)
	boot string // identifies this boot of the machine; "" if not known
	ids  string // the user namespace's mapping of ids

	fills  queue // fillers of this process, by key
	checks queue // checks of this process, by key

	mu       sync.Mutex
	checked  map[plan.Key]string // sum of the record that was found whole
	pending  map[plan.Key]bool   // not known to be on the disk yet
	session  *session            // this process's staging directory
	leases   map[string]bool     // names of this Store's own leases
	syncing  *time.Timer         // the background sync to come
	syncs    sync.WaitGroup      // background syncs that run or are to come
	cacheUse *lockfile.Lock      // held while caches may be in use
	stats    *StatCache
}

// An Option changes how a store is opened.
type Option func(*Store)

// WithWarn sets what is told about damaged layers that are dropped and rubbish
// that cannot be removed. warn may be called from any goroutine. By default
// such messages are discarded.
func WithWarn(warn func(message string)) Option {
	return func(s *Store) { s.warn = warn }
}

// Open opens the store in dir, making it when missing, and removes what dead
// processes left. It refuses a directory that holds anything else than a
// store, and a store of another format.
func Open(dir string, options ...Option) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{
		dir:     dir,
		warn:    func(string) {},
		boot:    bootID(),
		ids:     idMap(),
		checked: map[plan.Key]string{},
		pending: map[plan.Key]bool{},
		leases:  map[string]bool{},
	}
	for _, o := range options {
		o(s)
	}
	s.stats = newStatCache(s)
	if err := s.layOut(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	return s, nil
}

// Close ends what the store does in the background, saves the stat cache and
// removes the process's staging directory. The layers stay; a background sync
// that is still to come is done at once.
func (s *Store) Close() error {
	s.mu.Lock()
	due := s.syncing != nil && s.syncing.Stop()
	s.syncing = nil
	s.mu.Unlock()
	var err error
	if due {
		err = s.Sync()
		s.syncs.Done()
	}
	s.syncs.Wait()
	err = errors.Join(err, s.stats.Save())
	s.mu.Lock()
	session, use := s.session, s.cacheUse
	s.session, s.cacheUse = nil, nil
	s.mu.Unlock()
	if session != nil {
		err = errors.Join(err, session.close())
	}
	if use != nil {
		err = errors.Join(err, use.Remove())
	}
	return err
}

// Dir returns the absolute path of the store.
func (s *Store) Dir() string { return s.dir }

// Has reports whether k is in the store, without a look at its content.
func (s *Store) Has(k plan.Key) bool {
	_, err := s.Peek(k)
	return err == nil
}

// Peek returns the entry of k as it was recorded, without a look at its content: a
// layer that it finds may turn out to be damaged. The error is ErrMissing if there is
// none, or if Get would drop it for its record or its parent.
func (s *Store) Peek(k plan.Key) (*Entry, error) {
	st, err := readRecord(s.layerDir(k), k)
	if err == nil {
		err = s.onParent(st)
	}
	if errors.Is(err, ErrDamaged) {
		return nil, fmt.Errorf("layer %s: %w", k.Short(), ErrMissing)
	} else if err != nil {
		return nil, err
	}
	return st.entry(), nil
}

// Chain returns the layers from the first ancestor of k to k, each checked as
// by Get. If one of them is missing or damaged, the error is ErrMissing.
func (s *Store) Chain(ctx context.Context, k plan.Key) ([]*Entry, error) {
	var chain []*Entry
	seen := map[plan.Key]bool{}
	for {
		if seen[k] {
			return nil, fmt.Errorf("chain of layer %s: it is its own ancestor", k.Short())
		}
		seen[k] = true
		e, err := s.Get(ctx, k)
		if err != nil {
			return nil, err
		}
		chain = append(chain, e)
		if e.Parent == "" {
			break
		}
		if k, err = plan.ParseKey(e.Parent); err != nil {
			return nil, fmt.Errorf("chain of layer %s: parent: %w", e.Key.Short(), err)
		}
	}
	for i, j := 0, len(chain)-1; i < j; i, j = i+1, j-1 {
		chain[i], chain[j] = chain[j], chain[i]
	}
	// The walk began at the end: a parent that was found damaged and filled
	// again by another process meanwhile is not what its child was made on.
	for i := 1; i < len(chain); i++ {
		if d := chain[i].ParentDigest; d != "" && d != chain[i-1].Digest {
			return nil, fmt.Errorf("layer %s: made on another parent: %w", chain[i].Key.Short(), ErrMissing)
		}
	}
	return chain, nil
}

// A queue holds one lock per key within the process.
type queue struct {
	mu    sync.Mutex
	slots map[plan.Key]*slot
}

type slot struct {
	free chan struct{} // holds one token while nobody has the lock
	refs int           // holders and waiters
}

// lock takes the lock of k or gives up when ctx is done. waiting, if not nil,
// is called if there is a wait.
func (q *queue) lock(ctx context.Context, k plan.Key, waiting func()) (unlock func(), err error) {
	q.mu.Lock()
	if q.slots == nil {
		q.slots = map[plan.Key]*slot{}
	}
	sl := q.slots[k]
	if sl == nil {
		sl = &slot{free: make(chan struct{}, 1)}
		sl.free <- struct{}{}
		q.slots[k] = sl
	}
	sl.refs++
	q.mu.Unlock()
	leave := func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if sl.refs--; sl.refs == 0 {
			delete(q.slots, k)
		}
	}
	unlock = func() {
		sl.free <- struct{}{}
		leave()
	}
	select {
	case <-sl.free:
		return unlock, nil
	default:
	}
	if waiting != nil {
		waiting()
	}
	select {
	case <-sl.free:
		return unlock, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// writeFile writes a file that appears whole or not at all, even to readers in other
// processes. Until then it lies in this process's staging directory, so that nothing
// is left of a process that dies. The caller does not hold the global lock, unless
// this process has such a directory.
func (s *Store) writeFile(path string, data []byte) (err error) {
	staging, err := s.staging()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(staging, "file-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
