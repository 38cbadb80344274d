package virtualbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testdisk"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/desktop"
	"bake.build/bake/platforms/image/root"
	"bake.build/bake/platforms/ssh"
)

// A lender is a host with a ledger that can be looked at.
type lender struct {
	dir string

	mu      sync.Mutex
	records map[int]platforms.Resource
	begun   int
}

func newLender(t *testing.T) *lender {
	t.Helper()
	// The names of sockets below it are bounded.
	dir, err := os.MkdirTemp("", "vb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &lender{dir: dir, records: map[int]platforms.Resource{}}
}

func (h *lender) TempDir(prefix string) (string, func() error, error) {
	dir, err := os.MkdirTemp(h.dir, prefix)
	return dir, func() error { return os.RemoveAll(dir) }, err
}

func (h *lender) CacheDir(name string) (string, error) {
	dir := filepath.Join(h.dir, "cache", name)
	return dir, os.MkdirAll(dir, 0o700)
}

func (h *lender) Secret(s platforms.Secret) ([]byte, error) { return []byte(s), nil }
func (h *lender) Ask(context.Context, string) (string, error) {
	return "", errors.New("nobody to ask")
}
func (h *lender) Ledger() platforms.Ledger { return h }
func (h *lender) Build() string            { return "build" }
func (h *lender) Project() string          { return "acme/images" }

func (h *lender) Begin(r platforms.Resource) (func() error, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
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

func (h *lender) open() (list []platforms.Resource) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.records {
		list = append(list, r)
	}
	return list
}

func openDriver(t *testing.T, h platforms.Host) *driver {
	t.Helper()
	o := Options{Options: desktop.Options{
		Hardware: &hardware.Options{CPUs: 2, Memory: "512M", NIC: "virtio", DiskBus: "virtio"}, Login: ssh.Login{BootTimeout: "90s"},
	}}
	d, err := open(o, h)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

type testLogger struct{ t testing.TB }

func (s testLogger) Write(p []byte) (int, error) {
	s.t.Logf("%s", p)
	return len(p), nil
}

func (s testLogger) Progress(what string, _, _ int64) { s.t.Log(what) }

func sh(t *testing.T, m platforms.Machine, script string) string {
	t.Helper()
	var out strings.Builder
	if err := m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-c", script}, Stdout: &out}); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return strings.TrimSpace(out.String())
}

// TestDebian builds on a disk with Debian: two steps in one machine, and the disk of the
// last layer by another process' driver, which has another key.
func TestDebian(t *testing.T) {
	need.Slow(t)
	need.Root(t)
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	install(t)
	disk := testdisk.Path(t)
	h := newLender(t)
	d := openDriver(t, h)
	first := platforms.Layer{Key: "first", Dir: t.TempDir()}
	made, err := d.Import(t.Context(), platforms.Origin{Kind: "disk", Paths: map[string]string{"disk": disk}}, first.Dir, testLogger{t})
	if err != nil {
		t.Fatal(err)
	}
	first.Ref, first.Traits = made.Ref, made.Traits
	chain := []platforms.Layer{first}
	before := contents(t, chain)
	begun := time.Now()
	m, err := d.Boot(t.Context(), chain, testLogger{t})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a machine after %v", time.Since(begun))
	defer m.Close()
	for _, key := range []string{"one", "two"} {
		sh(t, m, "echo "+key+" >/"+key)
		layer := platforms.Layer{Key: key, Dir: t.TempDir()}
		begun := time.Now()
		if made, err = m.Commit(t.Context(), platforms.State{Key: key, Dir: layer.Dir, Needed: true}); err != nil {
			t.Fatal(err)
		}
		t.Logf("committed in %v", time.Since(begun))
		layer.Ref, layer.Traits = made.Ref, made.Traits
		chain = append(chain, layer)
	}
	sh(t, m, "echo three >/three")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if left := h.open(); len(left) > 0 {
		t.Errorf("the ledger has %v", left)
	}
	raw := filepath.Join(h.dir, "disk.raw")
	if err := openDriver(t, h).Disk(t.Context(), chain, raw, testLogger{t}); err != nil {
		t.Fatal(err)
	}
	if after := contents(t, chain[:1]); after != before {
		t.Errorf("the first layer was %s, and is %s", before, after)
	}
	if err := root.Check(); err != nil {
		t.Skip(err)
	}
	err = root.Open(t.Context(), raw, t.TempDir(), func(dir string) error {
		for name, want := range map[string]string{"one": "one\n", "two": "two\n", "three": "", "root/.ssh/authorized_keys2": "", "root/.ssh/authorized_keys": ""} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if string(text) != want || want == "" && !os.IsNotExist(err) {
				t.Errorf("/%s has %q, %v", name, text, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// contents tells the files of layers, by their sizes and times.
func contents(t *testing.T, chain []platforms.Layer) string {
	t.Helper()
	var all strings.Builder
	for _, l := range chain {
		entries, err := os.ReadDir(l.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(info.Name() + " " + info.ModTime().String() + "\n")
		}
	}
	return all.String()
}
