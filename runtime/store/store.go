package store

import (
	"context"
	"errors"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
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

	// Set by Put.
	Size   int64       `json:"size"`   // bytes of content
	Files  int         `json:"files"`  // entries
	Digest plan.Digest `json:"digest"` // of the manifest
}

// An Entry is one whole layer in the store.
type Entry struct {
	Meta
	Dir string // absolute path of the layer's content, read-only
}

// Layer returns the entry as drivers see it.
func (e *Entry) Layer() platforms.Layer {
	return platforms.Layer{Key: e.Key.String(), Dir: e.Dir, Ref: e.Ref}
}

// ErrMissing says that a layer is not in the store.
var ErrMissing = errors.New("not in the store")

// A Store is the local layer cache. It is safe for concurrent use, by any
// number of processes.
type Store struct{}

// Open opens the store in dir, making it when missing, and removes what dead
// processes left.
func Open(dir string) (*Store, error) { panic("to be written") }

// Get returns the entry of k after a check that its files are as they were
// recorded, or an error that is ErrMissing. A damaged layer is dropped, told
// to warn, and missing.
func (s *Store) Get(k plan.Key) (*Entry, error) { panic("to be written") }

// Has reports whether k is in the store, without the check.
func (s *Store) Has(k plan.Key) bool { panic("to be written") }

// Put returns the entry of meta.Key, filling it first when it is missing. fill
// gets an empty directory on the store's file system and returns the driver's
// reference; it runs once among all callers in all processes. waiting, if not
// nil, is called once when another filler holds the key. filled says whether
// this call ran fill.
func (s *Store) Put(ctx context.Context, meta Meta, waiting func(), fill func(dir string) (ref string, err error)) (e *Entry, filled bool, err error) {
	panic("to be written")
}
