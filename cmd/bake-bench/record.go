package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A record keeps the times of the peers, in a file in the user's cache
// directory, for later runs that skip them.
type record struct {
	path  string
	peers map[string]recorded
	fresh map[string]bool // added by this process
}

// recorded is one run of a peer.
type recorded struct {
	Seconds float64   `json:"seconds"` // wall-clock time
	CPU     float64   `json:"cpu"`     // seconds of all processors; only of processes that the peer waited for
	When    time.Time `json:"when"`
}

// recordPath returns where the record is kept.
func recordPath() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache directory: %w", err)
	}
	return filepath.Join(dir, "bake-bench", "peers.json"), nil
}

// loadRecord reads the record; where there is none it is empty.
func loadRecord(path string) (*record, error) {
	r := &record{
		path:  path,
		peers: map[string]recorded{},
		fresh: map[string]bool{},
	}
	data, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &r.peers); err != nil {
		return nil, fmt.Errorf("read %s: %w", r.path, err)
	}
	return r, nil
}

// now returns the run of a peer in this process.
func (r *record) now(name string) (recorded, bool) { return r.peers[name], r.fresh[name] }

// last returns a peer's last recorded run.
func (r *record) last(name string) (recorded, bool) {
	got, ok := r.peers[name]
	return got, ok
}

// add records a run and returns it.
func (r *record) add(name string, u usage) (recorded, error) {
	got := recorded{Seconds: u.wall.Seconds(), CPU: u.cpu.Seconds(), When: time.Now()}
	r.peers[name] = got
	r.fresh[name] = true
	data, err := json.MarshalIndent(r.peers, "", "  ")
	if err != nil {
		return got, err
	}
	if err := os.MkdirAll(filepath.Dir(r.path), 0o755); err != nil {
		return got, err
	}
	return got, os.WriteFile(r.path, append(data, '\n'), 0o644)
}
