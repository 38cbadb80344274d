package qemu

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testdisk"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/ssh"
)

// A host lends a driver directories below dir.
type host struct {
	dir    string
	caches string // "" for dir/cache
}

func (h host) TempDir(prefix string) (string, func() error, error) {
	if err := os.MkdirAll(filepath.Join(h.dir, "tmp"), 0o700); err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(filepath.Join(h.dir, "tmp"), prefix)
	return dir, func() error { return os.RemoveAll(dir) }, err
}

func (h host) CacheDir(name string) (string, error) {
	dir := filepath.Join(cmp.Or(h.caches, filepath.Join(h.dir, "cache")), name)
	return dir, os.MkdirAll(dir, 0o700)
}

func (h host) Ledger() platforms.Ledger { return nil }

func (h host) Ask(context.Context, string) (string, error) { return "", errors.New("nobody to ask") }

// Secret implements platforms.Host: a secret is its name.
func (h host) Secret(s platforms.Secret) ([]byte, error) { return []byte(s), nil }

// A world is a driver with a first layer.
type world struct {
	t      *testing.T
	host   host
	driver *driver
	first  platforms.Layer
	base   []platforms.Layer // on the first one, below those of boot
}

// on returns the world of another test that goes on from a layer, whose machine has
// ended. Nothing of it is left in the host's directories but memories.
func (w *world) on(t *testing.T, layer platforms.Layer) *world {
	t.Helper()
	other := &world{t: t, host: host{dir: t.TempDir(), caches: filepath.Join(w.host.dir, "cache")}, first: w.first}
	other.base = append(slices.Clone(w.base), layer)
	other.driver = other.open()
	return other
}

// chain returns the layers of a machine on the world's own.
func (w *world) chain(layers ...platforms.Layer) []platforms.Layer {
	return slices.Concat([]platforms.Layer{w.first}, w.base, layers)
}

// newWorld makes a driver; changes alter its options.
func newWorld(t *testing.T, changes ...func(*Options)) *world {
	t.Helper()
	need.Slow(t)
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	disk := testdisk.Path(t)
	w := &world{t: t, host: host{dir: t.TempDir()}}
	w.driver = w.open(changes...)
	w.first = w.imported(disk)
	return w
}

// open makes a driver of the same host.
func (w *world) open(changes ...func(*Options)) *driver {
	w.t.Helper()
	o := Options{Memory: "512M", Accel: "tcg", Login: ssh.Login{BootTimeout: "5m"}}
	for _, f := range changes {
		f(&o)
	}
	d, err := open(o, w.host)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := d.(*driver).Close(); err != nil {
			w.t.Errorf("close driver: %v", err)
		}
	})
	return d.(*driver)
}

func (w *world) layerDir() string {
	w.t.Helper()
	dir, err := os.MkdirTemp(w.host.dir, "layer")
	if err != nil {
		w.t.Fatal(err)
	}
	return dir
}

func (w *world) imported(disk string) platforms.Layer {
	w.t.Helper()
	dir := w.layerDir()
	made, err := w.driver.Import(w.t.Context(), platforms.Origin{Kind: "disk", Paths: map[string]string{"disk": disk}}, dir, platformtest.TestLog{T: w.t})
	if err != nil {
		w.t.Fatalf("Import: %v", err)
	}
	return platforms.Layer{Key: "first", Dir: dir, Ref: made.Ref, Traits: made.Traits}
}

func (w *world) boot(d *driver, chain ...platforms.Layer) *machine {
	w.t.Helper()
	begin := time.Now()
	m, err := d.Boot(w.t.Context(), w.chain(chain...), platformtest.TestLog{T: w.t})
	if err != nil {
		w.t.Fatalf("Boot: %v", err)
	}
	w.t.Logf("a machine after %v", time.Since(begin).Round(10*time.Millisecond))
	w.t.Cleanup(func() {
		if err := m.Close(); err != nil {
			w.t.Errorf("Close: %v", err)
		}
	})
	return m.(*machine)
}

func (w *world) commit(m *machine, key string) platforms.Layer {
	w.t.Helper()
	dir := w.layerDir()
	begin := time.Now()
	made, err := m.Commit(w.t.Context(), platforms.State{Key: key, Name: key, Dir: dir, Needed: true})
	if err != nil {
		w.t.Fatalf("Commit: %v", err)
	}
	w.t.Logf("committed in %v", time.Since(begin).Round(time.Millisecond))
	return platforms.Layer{Key: key, Dir: dir, Ref: made.Ref, Traits: made.Traits}
}

// sh runs a script that must succeed and returns its output.
func sh(t *testing.T, m platforms.Machine, script string) string {
	t.Helper()
	var out, errs safeBuffer
	if err := m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &errs}); err != nil {
		t.Fatalf("run %q: %v\n%s%s", script, err, out.String(), errs.String())
	}
	return strings.TrimSpace(out.String())
}

type safeBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
