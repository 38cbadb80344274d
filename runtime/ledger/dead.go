package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"bake.build/bake/internal/durable"
	"bake.build/bake/runtime/store/lockfile"
)

// A Build is a dead build that left resources. Until Close it is the caller's
// alone: no other process finds it.
type Build struct {
	ID      string
	Records []Record // the oldest first
	Damaged []error  // one for each file that cannot be read; such files stay

	dir   string
	owner *lockfile.Lock
}

// Dead returns the builds whose process is dead and that left resources in the
// ledger below dir, the store's directory, and removes the directories of
// those that left none. The caller closes each build. With an error, Dead
// returns what it found besides.
func Dead(dir string) ([]*Build, error) {
	root := filepath.Join(dir, folder)
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	var dead []*Build
	var failed error
	for _, e := range entries {
		b, err := take(filepath.Join(root, e.Name()))
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("read ledger of build %s: %w", e.Name(), err))
		} else if b != nil {
			dead = append(dead, b)
		}
	}
	return dead, failed
}

// take returns the build in dir if it is dead and left something.
func take(dir string) (*Build, error) {
	owner, err := lockfile.Try(filepath.Join(dir, ownerName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // closed just now
	} else if err != nil || owner == nil {
		return nil, err
	}
	names, err := resources(dir)
	if err != nil {
		return nil, errors.Join(err, owner.Unlock())
	}
	if len(names) == 0 {
		return nil, leave(dir, owner)
	}
	b := &Build{ID: filepath.Base(dir), dir: dir, owner: owner}
	for _, name := range names {
		path := filepath.Join(dir, name)
		r, err := read(path)
		if err != nil {
			b.Damaged = append(b.Damaged, fmt.Errorf("read %s: %w", path, err))
			continue
		}
		b.ID = r.Build
		b.Records = append(b.Records, r)
	}
	sort.SliceStable(b.Records, func(i, j int) bool { return b.Records[i].Time.Before(b.Records[j].Time) })
	return b, nil
}

func read(path string) (Record, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Record{}, err
	}
	r, err := decode(text)
	r.path = path
	return r, err
}

// Forget removes a record of the build, once its resource is gone.
func (b *Build) Forget(r Record) error {
	if r.path == "" || filepath.Dir(r.path) != b.dir {
		return fmt.Errorf("forget %s %s: it is no record of build %s", r.Kind, r.ID, b.ID)
	}
	if err := durable.Remove(r.path); err != nil {
		return fmt.Errorf("forget %s %s: %w", r.Kind, r.ID, err)
	}
	return nil
}

// Close lets the build go. What is left of it is found by the next Dead.
func (b *Build) Close() error {
	if b.owner == nil {
		return nil
	}
	owner := b.owner
	b.owner = nil
	if err := leave(b.dir, owner); err != nil {
		return fmt.Errorf("close ledger of build %s: %w", b.ID, err)
	}
	return nil
}
