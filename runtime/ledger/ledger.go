package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"bake.build/bake/internal/durable"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/store/lockfile"
)

const (
	folder    = "ledger"
	ownerName = "owner"
	suffix    = ".json"
)

// A Ledger records the resources of one build. It is safe for concurrent use.
type Ledger struct {
	root    string // the folder of all builds
	build   string
	project string
	dir     string // the folder of this build

	mu     sync.Mutex
	owner  *lockfile.Lock // nil before the first Begin
	closed bool
}

var _ platforms.Ledger = (*Ledger)(nil)

// Open opens the ledger below dir, the store's directory, for a new build.
// build is the build's id, unique among all builds, and project the identity of
// what it builds. Nothing is written before the first Begin.
func Open(dir, build, project string) (*Ledger, error) {
	name := url.PathEscape(build)
	if name == "" || name == "." || name == ".." {
		return nil, fmt.Errorf("open ledger: build id %q is no name", build)
	}
	root, err := filepath.Abs(filepath.Join(dir, folder))
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return &Ledger{root: root, build: build, project: project, dir: filepath.Join(root, name)}, nil
}

// Build returns the build's id.
func (l *Ledger) Build() string { return l.build }

// Project returns the identity of the project that is built.
func (l *Ledger) Project() string { return l.project }

// Begin records a resource before it is asked for. The record is on the disk
// when Begin returns. done forgets it; it may be called several times.
func (l *Ledger) Begin(r platforms.Resource) (done func() error, err error) {
	if r.Platform == "" || r.Kind == "" {
		return nil, fmt.Errorf("record resource %q: it names no platform or no kind", r.ID)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.own(); err != nil {
		return nil, fmt.Errorf("record %s %s: %w", r.Kind, r.ID, err)
	}
	r.Build = l.build
	b, err := encode(Record{Resource: r, Time: time.Now().UTC()})
	if err != nil {
		return nil, fmt.Errorf("record %s %s: %w", r.Kind, r.ID, err)
	}
	path := filepath.Join(l.dir, rand.Text()+suffix)
	if err := durable.WriteFile(path, b); err != nil {
		return nil, fmt.Errorf("record %s %s: %w", r.Kind, r.ID, err)
	}
	return sync.OnceValue(func() error {
		if err := durable.Remove(path); err != nil {
			return fmt.Errorf("forget %s %s: %w", r.Kind, r.ID, err)
		}
		return nil
	}), nil
}

// own makes the build's directory and locks it. The caller holds l.mu.
func (l *Ledger) own() error {
	switch {
	case l.closed:
		return errors.New("the ledger is closed")
	case l.owner != nil:
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for {
		if err := os.MkdirAll(l.dir, 0o700); err != nil {
			return err
		}
		owner, err := lockfile.Acquire(ctx, filepath.Join(l.dir, ownerName), nil)
		if errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
			continue // a clean-up took the directory while it was empty
		} else if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("build %s is open in another process", l.build)
		} else if err != nil {
			return err
		}
		// The names of both directories have to be on the disk as well.
		if err := errors.Join(durable.SyncDir(l.root), durable.SyncDir(filepath.Dir(l.root))); err != nil {
			return errors.Join(err, owner.Unlock())
		}
		l.owner = owner
		return nil
	}
}

// Close ends the build. Resources that are still recorded then belong to a
// dead build.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.owner == nil {
		return nil
	}
	owner := l.owner
	l.owner = nil
	if err := leave(l.dir, owner); err != nil {
		return fmt.Errorf("close ledger: %w", err)
	}
	return nil
}

// leave releases a build's directory and removes it if it holds no resource.
func leave(dir string, owner *lockfile.Lock) error {
	names, err := resources(dir)
	if err != nil || len(names) > 0 {
		return errors.Join(err, owner.Unlock())
	}
	if err := owner.Remove(); err != nil {
		return err
	}
	// It is not empty if a build of the same id has begun meanwhile.
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		if names, rerr := os.ReadDir(dir); rerr != nil || len(names) == 0 {
			return errors.Join(err, rerr)
		}
	}
	return nil
}

// resources returns the names of the files of resources in dir, and removes
// what was being written when a process died.
func resources(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		switch {
		case strings.HasSuffix(e.Name(), suffix):
			names = append(names, e.Name())
		case e.Name() != ownerName:
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	return names, nil
}
