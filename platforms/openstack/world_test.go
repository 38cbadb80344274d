package openstack

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"bake.build/bake/platforms"
)

// A host is what the driver is lent, with a ledger that can be looked at.
type host struct {
	dir            string
	build, project string
	secrets        map[platforms.Secret]string

	mu      sync.Mutex
	records map[int]platforms.Resource
	begun   int
}

func newHost(t testing.TB) *host {
	return &host{dir: t.TempDir(), records: map[int]platforms.Resource{}}
}

func (h *host) TempDir(prefix string) (string, func() error, error) {
	dir, err := os.MkdirTemp(h.dir, prefix)
	return dir, func() error { return os.RemoveAll(dir) }, err
}

func (h *host) CacheDir(name string) (string, error) {
	dir := filepath.Join(h.dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}

func (h *host) Secret(name platforms.Secret) ([]byte, error) {
	if v, ok := h.secrets[name]; ok {
		return []byte(v), nil
	}
	return nil, errors.New("no secret " + string(name))
}

func (h *host) Ledger() platforms.Ledger { return h }
func (h *host) Build() string            { return cmp.Or(h.build, "build") }
func (h *host) Project() string          { return cmp.Or(h.project, "acme/images") }

func (h *host) Ask(context.Context, string) (string, error) {
	return "", errors.New("nobody answers")
}

func (h *host) Begin(r platforms.Resource) (func() error, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.Build = h.Build()
	h.begun++
	n := h.begun
	h.records[n] = r
	return func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.records, n)
		return nil
	}, nil
}

// left returns what is recorded.
func (h *host) left() []platforms.Resource {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []platforms.Resource
	for n := range h.begun + 1 {
		if r, ok := h.records[n]; ok {
			list = append(list, r)
		}
	}
	return list
}

// logger is where the driver's log goes.
type logger struct {
	mu sync.Mutex
	bytes.Buffer
}

func (s *logger) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Buffer.Write(p)
}

func (s *logger) Progress(string, int64, int64) {}

var _ io.Writer = (*logger)(nil)

// openAt opens a driver of a cloud with an identity service of its own.
func openAt(t testing.TB, h *host, url string, change ...func(*Options)) *driver {
	t.Helper()
	for _, name := range []string{"OS_CLOUD", "OS_AUTH_URL", "OS_TOKEN", "OS_APPLICATION_CREDENTIAL_ID", "OS_REGION_NAME", "OS_CACERT"} {
		if os.Getenv(name) != "" {
			t.Fatalf("%s is set", name)
		}
	}
	if h.secrets == nil {
		h.secrets = map[platforms.Secret]string{"password": "pw"}
	}
	o := Options{AuthURL: url, Region: "RegionOne", CloudUser: "admin", CloudPassword: "password", Project: "admin"}
	for _, f := range change {
		f(&o)
	}
	d, err := open(o, h)
	if err != nil {
		t.Fatal(err)
	}
	d.pause = 20 * time.Millisecond
	d.clients.pause = d.pause
	return d
}

func publication(content string, o Publication) platforms.Publication {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return platforms.Publication{Name: "web", Content: content, Key: content + string(text), Arch: "amd64", Boot: "uefi", Options: text}
}
