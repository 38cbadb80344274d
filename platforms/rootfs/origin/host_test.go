package origin

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bake.build/bake/platforms"
)

// A testHost lends directories of one test.
type testHost struct{ dir string }

func (h testHost) TempDir(prefix string) (string, func() error, error) {
	dir, err := os.MkdirTemp(h.dir, prefix+"-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}

func (h testHost) CacheDir(name string) (string, error) {
	dir := filepath.Join(h.dir, "cache", name)
	return dir, os.MkdirAll(dir, 0o755)
}

func (h testHost) Ledger() platforms.Ledger { return nil }

func (h testHost) Ask(context.Context, string) (string, error) {
	return "", errors.New("nobody to ask")
}

func (h testHost) Secret(s platforms.Secret) ([]byte, error) { return nil, errors.New("no secrets") }

// newHost returns a host on a disk rather than on a tmpfs, as a store is.
func newHost(t testing.TB) testHost {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "bake-origin-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return testHost{dir}
}

// A testLogger keeps what it is told.
type testLogger struct {
	mu   sync.Mutex
	log  strings.Builder
	told map[string]int64
	// phases are the lines in which mmdebstrap says what it does, with the time.
	phases []string
}

func (s *testLogger) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(string(p)) {
		if strings.HasPrefix(line, "I: ") || strings.HasPrefix(line, "Fetched ") {
			s.phases = append(s.phases, time.Now().Format("05.00 ")+strings.TrimSpace(line))
		}
	}
	return s.log.Write(p)
}

func (s *testLogger) Progress(what string, done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		s.told = make(map[string]int64)
	}
	s.told[what] = done
}

// originOf returns the origin that options and paths give.
func originOf(t testing.TB, kind string, opts Options, paths map[string]string) platforms.Origin {
	t.Helper()
	data, err := json.Marshal(opts)
	if err != nil {
		t.Fatal(err)
	}
	return platforms.Origin{Kind: kind, Options: data, Paths: paths}
}

// importNew pins and imports o in a new directory and returns its tree.
func importNew(t testing.TB, o platforms.Origin, h platforms.Host) (tree string, out *testLogger, err error) {
	t.Helper()
	out = new(testLogger)
	if o.Pin == nil {
		if o, err = Pin(t.Context(), o, h); err != nil {
			return "", out, err
		}
	}
	dir, err := os.MkdirTemp(h.(testHost).dir, "layer-")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "fs"), out, Import(t.Context(), o, dir, h, out)
}
