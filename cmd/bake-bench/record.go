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
	Seconds float64   `json:"seconds"`
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

// now returns the time of a peer that ran in this process.
func (r *record) now(name string) (seconds float64, ok bool) {
	return r.peers[name].Seconds, r.fresh[name]
}

// last returns the time of a peer's last recorded run, and when that was.
func (r *record) last(name string) (seconds float64, when time.Time, ok bool) {
	got, ok := r.peers[name]
	return got.Seconds, got.When, ok
}

// add records a run.
func (r *record) add(name string, took time.Duration) error {
	r.peers[name] = recorded{took.Seconds(), time.Now()}
	r.fresh[name] = true
	data, err := json.MarshalIndent(r.peers, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(r.path, append(data, '\n'), 0o644)
}
