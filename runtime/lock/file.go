package lock

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"bake.build/bake/internal/regular"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/store/lockfile"
	"bake.build/bake/starlark/module"
)

// Name is the lock file's name. It stands beside the definition's root.
const Name = "bake.lock"

const version = 1

// maxSize is how many bytes of a lock file are read at most.
const maxSize = 16 << 20

// A File is a bake.lock in memory. It is safe for concurrent use.
type File struct {
	path string

	mu      sync.Mutex
	content content
	set     map[string]bool // the names of pins that Save is to write
	locked  bool            // Save is to write the modules
}

type content struct {
	Version int                      `json:"version"`
	Modules *module.Lock             `json:"modules,omitempty"`
	Pins    map[string]platforms.Pin `json:"pins"`
}

// Load reads the lock file at path. A file that does not exist is empty.
func Load(path string) (*File, error) {
	c, err := read(path)
	if err != nil {
		return nil, err
	}
	return &File{path: path, content: c, set: map[string]bool{}}, nil
}

func read(path string) (content, error) {
	data, err := regular.Read(path, maxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return content{Version: version, Pins: map[string]platforms.Pin{}}, nil
	}
	if err != nil {
		return content{}, err
	}
	c, err := parse(data)
	if err != nil {
		return content{}, fmt.Errorf("%s: %w (mend it, or remove it to resolve every origin again)", path, err)
	}
	return c, nil
}

func parse(data []byte) (c content, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return content{}, err
	}
	// Such as a second value that a merge left there.
	if _, err := dec.Token(); err != io.EOF {
		return content{}, fmt.Errorf("more follows after the pins, at byte %d", dec.InputOffset())
	}
	if c.Version != version {
		return content{}, fmt.Errorf("version %d is not known, this bake writes version %d", c.Version, version)
	}
	for name, pin := range c.Pins {
		if pin.ID == "" {
			return content{}, fmt.Errorf("pin %q has no id", name)
		}
	}
	if c.Modules != nil {
		if err := c.Modules.Check(); err != nil {
			return content{}, err
		}
	}
	if c.Pins == nil {
		c.Pins = map[string]platforms.Pin{}
	}
	return c, nil
}

// Modules returns what is locked of modules, or nil. It is not to be changed.
func (f *File) Modules() *module.Lock {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.content.Modules
}

// SetModules records what is locked of modules; nil stands for none. Save writes it.
func (f *File) SetModules(l *module.Lock) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.content.Modules, f.locked = l, true
}

// Get returns the pin called name, or nil.
func (f *File) Get(name string) *platforms.Pin {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.content.Pins[name]; ok {
		return &p
	}
	return nil
}

// Set records a pin. Save writes it.
func (f *File) Set(name string, p platforms.Pin) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.content.Pins[name] = p
	f.set[name] = true
}

// Save writes the pins that were set since Load into the file as it is now:
// what other builds wrote meanwhile stays, and so do the pins of the project's
// other definitions. The file is replaced by an atomic rename, under a lock.
func (f *File) Save(ctx context.Context) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.set) == 0 && !f.locked {
		return nil
	}
	l, err := lockfile.Acquire(ctx, filepath.Join(filepath.Dir(f.path), "."+Name+".held"), nil)
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	defer func() { err = errors.Join(err, l.Remove()) }()
	now, err := read(f.path)
	if err != nil {
		return err
	}
	for name := range f.set {
		now.Pins[name] = f.content.Pins[name]
	}
	if f.locked {
		now.Modules = f.content.Modules
	}
	f.content = now
	if err := f.write(); err != nil {
		return err
	}
	f.set, f.locked = map[string]bool{}, false
	return nil
}

func (f *File) write() error {
	data, err := json.MarshalIndent(f.content, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.path), "."+Name+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	_, err = tmp.Write(append(data, '\n'))
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), f.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", f.path, err), os.Remove(tmp.Name()))
	}
	return nil
}
