package solve

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/layers"
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

func (c *cloud) FindLayers(_ context.Context, keys []string) (map[string]platforms.Layer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	found := map[string]platforms.Layer{}
	for _, k := range keys {
		if ref := c.kept[k]; ref != "" {
			found[k] = platforms.Layer{Key: k, Ref: ref}
		}
	}
	return found, nil
}

func (c *cloud) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (platforms.Machine, error) {
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

func (m *instance) Commit(_ context.Context, s platforms.State) (platforms.Made, error) {
	if s.Dir != "" {
		return platforms.Made{}, errors.New("a layer of a cloud has no directory")
	}
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if !s.Needed && !m.c.worth(s.Name) {
		return platforms.Made{Dropped: true}, nil
	}
	m.c.kept[s.Key], m.c.names[s.Key] = m.state, s.Name
	return platforms.Made{Ref: m.state}, nil
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

// flaky returns what fails at the runs that bad says, counted from 1, or does not end
// where late says so.
func flaky(bad, late func(run int) bool) func(context.Context, platforms.Machine, plan.Env) error {
	runs := 0
	return func(ctx context.Context, _ platforms.Machine, _ plan.Env) error {
		runs++
		if late(runs) {
			<-ctx.Done()
			return ctx.Err()
		}
		if bad(runs) {
			return errors.New("no luck")
		}
		return nil
	}
}

func never(int) bool { return false }

// TestStepsRunAgainAsThemselves has a step that runs again, since its layer was not
// kept, fail then: it has tries of its own, and the next one begins in a new machine.
func TestStepsRunAgainAsThemselves(t *testing.T) {
	w, _ := newCloud(t)
	a := w.step(w.source("base"), "a", flaky(func(run int) bool { return run == 2 }, never))
	b := w.step(a, "b", flaky(func(run int) bool { return run == 1 }, never))
	a.Run.Retries, b.Run.Retries = 1, 1
	w.must(w.export(b, "web"))
	w.ran("a=3 b=2")
	if got, want := w.content("web"), `"base"/a/b`; got != want {
		t.Errorf("the artifact is %s, want %s", got, want)
	}
	for name, want := range map[string]string{"a": "started done started retry done", "b": "started retry done"} {
		if got := w.events.types(name); got != want {
			t.Errorf("events of %s: %s, want %s", name, got, want)
		}
	}
}

// TestStepsRunAgainFailOnTheirOwn has a step that runs again take too long: it fails by
// its own timeout, as the node that it is, and the one that needed it is not tried
// again. What does not depend on it goes on.
func TestStepsRunAgainFailOnTheirOwn(t *testing.T) {
	w, _ := newCloud(t)
	w.config.KeepGoing = true
	a := w.step(w.source("base"), "a", flaky(never, func(run int) bool { return run > 1 }))
	b := w.step(a, "b", flaky(func(int) bool { return true }, never))
	a.Run.Timeout, b.Run.Retries = 50*time.Millisecond, 5
	res, err := w.run(t.Context(), w.export(b, "web"), w.export(w.step(w.source("base"), "other"), "rest"))
	var failed *NodeError
	if !errors.As(err, &failed) || failed.Node != a || !strings.Contains(err.Error(), "timed out after") {
		t.Errorf("error %v", err)
	}
	w.ran("a=2 b=1 web=0 other=1 rest=1")
	for name, want := range map[string]string{"a": "started done started failed", "b": "started retry canceled", "web": "skipped"} {
		if got := w.events.types(name); got != want {
			t.Errorf("events of %s: %s, want %s", name, got, want)
		}
	}
	if got := w.events.nodes["web"]; len(got) != 1 || got[0] != "skipped needs b, which did not come to its end" {
		t.Errorf("events of web: %q", got)
	}
	if res.Failed != 1 || res.Stopped != 2 || res.Ran != 3 {
		t.Errorf("%+v", res)
	}
}

// TestKeptFailure keeps the state of a failed step where the platform keeps its layers.
func TestKeptFailure(t *testing.T) {
	w, c := newCloud(t)
	w.config.OnError = Keep
	bad := w.step(w.step(w.source("base"), "a"), "bad", flaky(func(int) bool { return true }, never))
	_, err := w.run(t.Context(), bad)
	var failed *NodeError
	if !errors.As(err, &failed) || failed.Kept.IsZero() {
		t.Fatalf("error %v", err)
	}
	chain, err := w.withLayers().Layers.(*layers.Source).Chain(t.Context(), fakePlatform, failed.Kept)
	if err != nil || len(chain) != 1 || chain[0].Ref != `"base"/a/bad` {
		t.Errorf("the chain is %v, %v", chain, err)
	}
	if got := c.steps(); got != "failed: bad" {
		t.Errorf("kept %q", got)
	}
}

// content returns what an artifact was written from.
func (w *world) content(name string) string {
	_, content, _ := strings.Cut(w.exports.made[name], " ")
	return content
}
