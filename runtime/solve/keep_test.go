package solve

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// A cloud is a driver that keeps the layers of its steps itself.
type cloud struct {
	*driver
	mu    sync.Mutex
	kept  map[string]string // by key
	names map[string]string // of their steps, by key
	asked int
	worth func(name string) bool // keeping a state that is not needed
}

func newCloud(t *testing.T) (*world, *cloud) {
	w := newWorld(t)
	c := &cloud{driver: w.driver, kept: map[string]string{}, names: map[string]string{}, worth: func(string) bool { return false }}
	w.config.Drivers = func(*plan.Platform) (platforms.Driver, error) { return c, nil }
	return w, c
}

func (c *cloud) Kept(_ context.Context, keys []string) (map[string]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	refs := map[string]string{}
	for _, k := range keys {
		if ref := c.kept[k]; ref != "" {
			refs[k] = ref
		}
	}
	return refs, nil
}

func (c *cloud) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Sink) (platforms.Machine, error) {
	if len(chain) != 1 {
		return nil, errors.New("a layer of a cloud comes alone")
	}
	m, err := c.driver.Boot(ctx, chain, out)
	if err != nil {
		return nil, err
	}
	return &instance{machine: m.(*machine), c: c}, nil
}

// steps returns the names of the steps whose layers are kept.
func (c *cloud) steps() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Values(c.names)), " ")
}

type instance struct {
	*machine
	c *cloud
}

func (m *instance) Commit(context.Context, string) (string, error) {
	return "", errors.New("a machine of a cloud is saved")
}

func (m *instance) Save(_ context.Context, s platforms.State) (string, error) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if !s.Needed && !m.c.worth(s.Name) {
		return "", nil
	}
	m.c.kept[s.Key], m.c.names[s.Key] = m.state, s.Name
	return m.state, nil
}

// TestKeptLayers runs chains whose platform keeps what is worth it.
func TestKeptLayers(t *testing.T) {
	w, c := newCloud(t)
	define := func(last string) *plan.Node {
		w.define()
		m := w.step(w.step(w.step(w.source("base"), "a"), "b"), "c")
		return w.export(w.step(m, last), "web")
	}
	w.must(define("d"))
	if got := c.steps(); got != "d" {
		t.Errorf("kept %q", got)
	}
	if got, want := w.content("web"), `"base"/a/b/c/d`; got != want {
		t.Errorf("the artifact is %s, want %s", got, want)
	}
	if n := len(w.store.layers); n != 1 {
		t.Errorf("%d layers are in the store", n)
	}

	// Nothing that is kept is below the changed step: all run again.
	c.worth = func(name string) bool { return name == "b" }
	w.must(define("e"))
	if got := c.steps(); got != "b d e" || w.count("a").Load() != 1 {
		t.Errorf("kept %q, and a ran %d times", got, w.count("a").Load())
	}
	// From the nearest one.
	w.must(define("f"))
	if a, b, step := w.count("a").Load(), w.count("b").Load(), w.count("c").Load(); a != 0 || b != 0 || step != 1 {
		t.Errorf("a ran %d times, b %d, c %d", a, b, step)
	}
	if got, want := w.content("web"), `"base"/a/b/c/f`; got != want {
		t.Errorf("the artifact is %s, want %s", got, want)
	}
	// Another host, with a store of its own, finds them by their keys.
	w.store = newStore(t)
	w.config.Store = w.store
	w.exports.made = map[string]string{}
	w.must(define("f"))
	if n := w.count("f").Load(); n != 0 {
		t.Errorf("f ran %d times", n)
	}
	if got, want := w.content("web"), `"base"/a/b/c/f`; got != want {
		t.Errorf("the artifact is %s, want %s", got, want)
	}
	// What somebody has removed is made again.
	clear(c.kept)
	w.exports.made = map[string]string{}
	w.must(define("f"))
	if n := w.count("f").Load(); n != 1 {
		t.Errorf("f ran %d times", n)
	}
}

// TestKeptBranches keeps a layer that two machines begin on, whatever it is worth.
func TestKeptBranches(t *testing.T) {
	w, c := newCloud(t)
	m := w.step(w.step(w.source("base"), "a"), "b")
	one, two := w.export(w.step(m, "one"), "x"), w.export(w.step(m, "two"), "y")
	w.must(one, two)
	if got := c.steps(); got != "b one two" {
		t.Errorf("kept %q", got)
	}
	if x, y := w.content("x"), w.content("y"); x != `"base"/a/b/one` || y != `"base"/a/b/two` {
		t.Errorf("the artifacts are %s and %s", x, y)
	}
}

// TestKeptRetry has a step fail once: its machine is lost, and the steps before it,
// whose layers are not kept, run again.
func TestKeptRetry(t *testing.T) {
	w, c := newCloud(t)
	tries := 0
	m := w.step(w.step(w.source("base"), "a"), "b")
	m = w.step(m, "flaky", func(context.Context, platforms.Machine, plan.Env) error {
		if tries++; tries == 1 {
			return errors.New("no luck")
		}
		return nil
	})
	m.Run.Retries = 1
	w.must(w.export(m, "web"))
	if a, b := w.count("a").Load(), w.count("b").Load(); a != 2 || b != 2 {
		t.Errorf("a ran %d times, b %d", a, b)
	}
	if got, want := w.content("web"), `"base"/a/b/flaky`; got != want {
		t.Errorf("the artifact is %s, want %s", got, want)
	}
	if got := c.steps(); got != "flaky" {
		t.Errorf("kept %q", got)
	}
}

// content returns what an artifact was written from.
func (w *world) content(name string) string {
	_, content, _ := strings.Cut(w.exports.made[name], " ")
	return content
}
