package solve

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/layers"
	"bake.build/bake/runtime/plan"
)

// recorder keeps the events of each node as "type text".
type recorder struct {
	mu    sync.Mutex
	all   []string
	nodes map[string][]string
	logs  map[string]string
	open  map[int]bool
	total int             // steps that were planned: nodes, those of one key once
	ends  map[int]int     // by node, its events that end it
	keys  map[string]bool // of the nodes that ended
	wrong []string
}

func newRecorder() *recorder {
	return &recorder{nodes: map[string][]string{}, logs: map[string]string{}, open: map[int]bool{}, ends: map[int]int{}, keys: map[string]bool{}}
}

func (r *recorder) Event(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Node == nil {
		if e.Type == event.Planned {
			r.total = int(e.Total)
		}
		r.all = append(r.all, string(e.Type)+" "+e.Text)
		return
	}
	name := e.Node.Name
	switch e.Type {
	case event.Cached, event.Done, event.Failed, event.Canceled, event.Skipped:
		r.ends[e.Node.ID]++
		r.keys[e.Node.Key] = true
	}
	switch e.Type {
	case event.Output:
		r.logs[name] += string(e.Data)
	case event.Started:
		again := e.Text == "its layer was not kept"
		if r.open[e.Node.ID] != again {
			r.wrong = append(r.wrong, "started twice: "+name)
		}
		if again {
			r.ends[e.Node.ID]--
		}
		r.open[e.Node.ID] = true
	case event.Done, event.Failed, event.Canceled:
		if !r.open[e.Node.ID] {
			r.wrong = append(r.wrong, "ended before its start: "+name)
		}
	}
	if e.Type != event.Output {
		s := strings.TrimSpace(string(e.Type) + " " + e.Text)
		r.nodes[name] = append(r.nodes[name], s)
		r.all = append(r.all, name+": "+s)
	}
}

// types returns the types of a node's events, without what it waited for.
func (r *recorder) types(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var types []string
	for _, s := range r.nodes[name] {
		if s, _, _ = strings.Cut(s, " "); s != "waiting" && s != "artifact" {
			types = append(types, s)
		}
	}
	return strings.Join(types, " ")
}

// A world is what a test builds in.
type world struct {
	t       *testing.T
	store   *memStore
	driver  *driver
	exports *exports
	events  *recorder
	b       *plan.Builder
	counts  map[string]*atomic.Int32
	config  Config
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: newStore(t), driver: &driver{}, exports: &exports{made: map[string]string{}}}
	w.config = Config{
		Store:   w.store,
		Exports: w.exports,
		Drivers: func(*plan.Platform) (platforms.Driver, error) { return w.driver, nil },
		Jobs:    4,
		LogDir:  filepath.Join(w.store.dir, "logs"),
	}
	w.define()
	return w
}

// define begins a new definition in the same store.
func (w *world) define() {
	w.b, w.counts = &plan.Builder{}, map[string]*atomic.Int32{}
}

func (w *world) count(name string) *atomic.Int32 {
	if w.counts[name] == nil {
		w.counts[name] = &atomic.Int32{}
	}
	return w.counts[name]
}

var fakePlatform = &plan.Platform{Name: "fake"}

func (w *world) source(name string, deps ...*plan.Node) *plan.Node {
	op := &sourceOp{Options: json.RawMessage(`"` + name + `"`)}
	for i, d := range deps {
		if op.Made = map[string]int{"layer": i}; !isLayer(d) {
			op.Made = map[string]int{"disk": i}
		}
	}
	return w.b.Add(&plan.Node{Op: op, Platform: fakePlatform, Name: name, Deps: deps})
}

func (w *world) step(parent *plan.Node, name string, do ...func(ctx context.Context, m platforms.Machine, env plan.Env) error) *plan.Node {
	op := &stepOp{Text: name, Ran: w.count(name)}
	if len(do) > 0 {
		op.Do = do[0]
	}
	return w.b.Add(&plan.Node{Op: op, Platform: fakePlatform, Name: name, Deps: []*plan.Node{parent},
		Pos: []plan.Pos{{File: "images.star", Line: 3, Col: 1}}})
}

func (w *world) check(parent *plan.Node, name string, do ...func(ctx context.Context, state string) error) *plan.Node {
	op := &checkOp{Text: name, Ran: w.count(name)}
	if len(do) > 0 {
		op.Do = do[0]
	}
	return w.b.Add(&plan.Node{Op: op, Name: name, Deps: []*plan.Node{parent}})
}

func (w *world) export(parent *plan.Node, name string) *plan.Node {
	return w.b.Add(&plan.Node{Op: &exportOp{Name: name, Ran: w.count(name)}, Name: name, Deps: []*plan.Node{parent}})
}

func (w *world) seal() *plan.Plan {
	p := w.b.Plan()
	p.Gate()
	if err := p.Seal(func(*plan.Platform) (string, error) { return "fake", nil }); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// run runs the definition and checks what holds after every run.
func (w *world) run(ctx context.Context, targets ...*plan.Node) (*Result, error) {
	w.t.Helper()
	w.events = newRecorder()
	c := w.withLayers()
	c.Events = event.NewStream(w.events)
	res, err := Run(ctx, c, w.seal(), targets)
	if n := w.driver.open.Load(); n != 0 {
		w.t.Errorf("%d machines are left open", n)
	}
	if w.store.leased != 0 {
		w.t.Errorf("%d leases are left", w.store.leased)
	}
	if len(w.events.keys) != w.events.total {
		w.t.Errorf("%d steps ended, %d were planned", len(w.events.keys), w.events.total)
	}
	for id, n := range w.events.ends {
		if n != 1 {
			w.t.Errorf("node %d ended %d times", id, n)
		}
	}
	for _, s := range w.events.wrong {
		w.t.Error(s)
	}
	if n := len(w.events.all); n == 0 || !strings.HasPrefix(w.events.all[n-1], "finished") {
		w.t.Errorf("the last event is not finished")
	}
	return res, err
}

// withLayers returns the configuration with the source of layers that goes with its
// store and its drivers.
func (w *world) withLayers() Config {
	c := w.config
	c.Layers = &layers.Source{Store: c.Store.(layers.Store), Drivers: c.Drivers}
	return c
}

func (w *world) must(targets ...*plan.Node) *Result {
	w.t.Helper()
	res, err := w.run(context.Background(), targets...)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// ran checks how often each step ran since define.
func (w *world) ran(want string) {
	w.t.Helper()
	for _, f := range strings.Fields(want) {
		name, n, _ := strings.Cut(f, "=")
		if got := fmt.Sprint(w.count(name).Load()); got != n {
			w.t.Errorf("%s ran %s times, want %s", name, got, n)
		}
	}
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}
