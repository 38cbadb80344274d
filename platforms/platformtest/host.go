package platformtest

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"bake.build/bake/platforms"
)

// A Host is what tests lend to a driver. It is its ledger, too, which can be looked at.
type Host struct {
	Dir       string // all directories are below it
	BuildID   string // "build" when empty
	ProjectID string // "acme/images" when empty
	Nameless  bool   // the project has no identity

	// Secrets are the values of secrets. A secret is worth its own name where this is nil.
	Secrets map[platforms.Secret]string

	Answer string   // to all questions; nobody answers when empty
	Asked  []string // all questions

	mu      sync.Mutex
	records map[int]platforms.Resource
	begun   int
}

var (
	_ platforms.Host   = (*Host)(nil)
	_ platforms.Ledger = (*Host)(nil)
)

// NewHost returns a host with an empty directory, whose name is short: sockets lie below it.
func NewHost(t testing.TB) *Host {
	t.Helper()
	dir, err := os.MkdirTemp("", "host")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &Host{Dir: dir}
}

// TempDir implements platforms.Host.
func (h *Host) TempDir(prefix string) (string, func() error, error) {
	dir, err := os.MkdirTemp(h.Dir, prefix)
	return dir, func() error { return os.RemoveAll(dir) }, err
}

// CacheDir implements platforms.Host.
func (h *Host) CacheDir(name string) (string, error) {
	dir := filepath.Join(h.Dir, "cache", name)
	return dir, os.MkdirAll(dir, 0o700)
}

// Secret implements platforms.Host.
func (h *Host) Secret(name platforms.Secret) ([]byte, error) {
	if h.Secrets == nil {
		return []byte(name), nil
	}
	value, ok := h.Secrets[name]
	if !ok {
		return nil, errors.New("no secret " + string(name))
	}
	return []byte(value), nil
}

// Ask implements platforms.Host.
func (h *Host) Ask(_ context.Context, question string) (string, error) {
	h.Asked = append(h.Asked, question)
	if h.Answer == "" {
		return "", errors.New("nobody answers")
	}
	return h.Answer, nil
}

// Ledger implements platforms.Host.
func (h *Host) Ledger() platforms.Ledger { return h }

// Build implements platforms.Ledger.
func (h *Host) Build() string { return cmp.Or(h.BuildID, "build") }

// Project implements platforms.Ledger.
func (h *Host) Project() string {
	if h.Nameless {
		return ""
	}
	return cmp.Or(h.ProjectID, "acme/images")
}

// Begin implements platforms.Ledger.
func (h *Host) Begin(r platforms.Resource) (func() error, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.records == nil {
		h.records = map[int]platforms.Resource{}
	}
	h.begun++
	n := h.begun
	r.Build = h.Build()
	h.records[n] = r
	return func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.records, n)
		return nil
	}, nil
}

// Left returns what is recorded, the oldest first.
func (h *Host) Left() (list []platforms.Resource) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(h.records)) {
		list = append(list, h.records[n])
	}
	return list
}

// Forget empties the ledger.
func (h *Host) Forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records = nil
}
