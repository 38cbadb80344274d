package lock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"bake.build/bake/platforms"
)

// Name is the lock file's name. It stands beside the definition's root.
const Name = "bake.lock"

const version = 1

// A File is a bake.lock in memory. It is safe for concurrent use.
type File struct {
	path string

	mu    sync.Mutex
	pins  map[string]platforms.Pin
	dirty bool
}

type content struct {
	Version int                      `json:"version"`
	Pins    map[string]platforms.Pin `json:"pins"`
}

// Load reads the lock file at path. A file that does not exist is empty.
func Load(path string) (*File, error) {
	f := &File{path: path, pins: map[string]platforms.Pin{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	pins, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (mend it, or remove it to resolve every origin again)", path, err)
	}
	f.pins = pins
	return f, nil
}

func parse(data []byte) (map[string]platforms.Pin, error) {
	var c content
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, err
	}
	if c.Version != version {
		return nil, fmt.Errorf("version %d is not known, this bake writes version %d", c.Version, version)
	}
	for name, pin := range c.Pins {
		if pin.ID == "" {
			return nil, fmt.Errorf("pin %q has no id", name)
		}
	}
	if c.Pins == nil {
		c.Pins = map[string]platforms.Pin{}
	}
	return c.Pins, nil
}

// Get returns the pin called name, or nil.
func (f *File) Get(name string) *platforms.Pin {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.pins[name]; ok {
		return &p
	}
	return nil
}

// Set records a pin. Save writes it.
func (f *File) Set(name string, p platforms.Pin) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pins[name] = p
	f.dirty = true
}

// Keep drops every pin that is not in names, such as those of sources that a
// definition no longer has.
func (f *File) Keep(names map[string]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.pins {
		if !names[name] {
			delete(f.pins, name)
			f.dirty = true
		}
	}
}

// Save writes the file by an atomic rename, if anything was set since Load.
// Nothing is written when there is no pin and there was no file.
func (f *File) Save() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.dirty {
		return nil
	}
	data, err := json.MarshalIndent(content{Version: version, Pins: f.pins}, "", "  ")
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
	f.dirty = false
	return nil
}
