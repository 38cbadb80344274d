package solve

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	"bake.build/bake/runtime/store"
)

var (
	_ Layers = (*layers.Source)(nil)
	_ Leaser = (*store.Store)(nil)
	_ Syncer = (*store.Store)(nil)
)

// fileDriver is a driver whose layers are files, for the store on a disk.
type fileDriver struct{ driver }

func (d *fileDriver) Import(ctx context.Context, o platforms.Origin, dir string, out platforms.Logger) (platforms.Made, error) {
	made, err := d.driver.Import(ctx, o, dir, out)
	if err != nil {
		return made, err
	}
	return made, os.WriteFile(filepath.Join(dir, "content"), []byte(made.Ref), 0o644)
}

func (d *fileDriver) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (platforms.Machine, error) {
	for _, l := range chain {
		if b, err := os.ReadFile(filepath.Join(l.Dir, "content")); err != nil || string(b) != l.Ref {
			return nil, fmt.Errorf("layer %s holds %q, %v", l.Ref, b, err)
		}
	}
	m, err := d.driver.Boot(ctx, chain, out)
	if err != nil {
		return nil, err
	}
	return &fileMachine{m.(*machine)}, nil
}

type fileMachine struct{ *machine }

func (m *fileMachine) Commit(_ context.Context, s platforms.State) (platforms.Made, error) {
	return platforms.Made{Ref: m.state}, os.WriteFile(filepath.Join(s.Dir, "content"), []byte(m.state), 0o644)
}

func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// withStore gives w a driver and a store on the disk.
func (w *world) withStore(s *store.Store, d *fileDriver) {
	w.config.Store = s
	w.config.Drivers = func(*plan.Platform) (platforms.Driver, error) { return d, nil }
}

func TestStoreOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, dir)
	w, d := newWorld(t), &fileDriver{}
	w.withStore(s, d)
	var a, b *plan.Node
	build := func() []*plan.Node {
		w.define()
		a = w.step(w.source("base"), "a")
		b = w.step(a, "b")
		w.check(b, "t")
		return []*plan.Node{w.export(w.step(b, "c"), "disk")}
	}
	w.must(build()...)
	w.ran("a=1 b=1 t=1 c=1 disk=1")
	w.must(build()...)
	w.ran("a=0 b=0 t=0 c=0 disk=0")

	// A bit is flipped in a layer in the middle, and a new process needs it.
	e, err := s.Get(t.Context(), a.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(e.Dir, "content"), []byte("XXXX"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.withStore(openStore(t, dir), d)
	build()
	w.must(w.step(b, "d"))
	w.ran("a=1 d=1") // and b again if a came out differently, as times do
	if n := d.open.Load(); n != 0 {
		t.Errorf("%d machines are left open", n)
	}
}

func TestManyRunsInOneStoreOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	d := &fileDriver{}
	total := map[string]*atomic.Int32{}
	var wg sync.WaitGroup
	for range 4 {
		w := newWorld(t)
		w.withStore(openStore(t, dir), d)
		base := w.source("base")
		var targets []*plan.Node
		for i := range 3 {
			n := base
			for j := range 4 {
				name := fmt.Sprintf("s%d.%d", i, j)
				if total[name] == nil {
					total[name] = &atomic.Int32{}
				}
				n = w.step(n, name, func(context.Context, platforms.Machine, plan.Env) error {
					total[name].Add(1)
					time.Sleep(time.Millisecond)
					return nil
				})
			}
			targets = append(targets, n)
		}
		p := w.seal()
		wg.Go(func() {
			c := w.withLayers()
			c.Events = event.NewStream()
			if _, err := Run(context.Background(), c, p, targets); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for name, n := range total {
		if n.Load() != 1 {
			t.Errorf("%s ran %d times", name, n.Load())
		}
	}
	if n := d.imports.Load(); n != 1 {
		t.Errorf("%d imports", n)
	}
	if n := d.open.Load(); n != 0 {
		t.Errorf("%d machines are left open", n)
	}
}

// What a step prints is bounded in memory and on the disk.
func TestMuchOutput(t *testing.T) {
	w := newWorld(t)
	line := []byte(strings.Repeat("x", 1023) + "\n")
	n := w.step(w.source("base"), "a", func(ctx context.Context, m platforms.Machine, env plan.Env) error {
		for range 70 << 10 { // 70 MiB
			if _, err := env.Out.Write(line); err != nil {
				return err
			}
		}
		return fmt.Errorf("no")
	})
	c := w.withLayers()
	c.Events = event.NewStream()
	_, err := Run(context.Background(), c, w.seal(), []*plan.Node{n})
	var ne *NodeError
	if !errors.As(err, &ne) {
		t.Fatal(err)
	}
	info, err := os.Stat(ne.LogPath)
	if err != nil || info.Size() > logHead+logTail+100 || info.Size() < logHead+logTail {
		t.Errorf("log: %v, %v", info, err)
	}
	if len(ne.Tail) != tailLines {
		t.Errorf("%d lines of tail", len(ne.Tail))
	}
}

// A step that does not heed its context is stopped by closing its machine.
func TestDeafStepIsStopped(t *testing.T) {
	w := newWorld(t)
	n := w.step(w.source("base"), "a", func(_ context.Context, m platforms.Machine, _ plan.Env) error {
		<-m.(*machine).gone
		return fmt.Errorf("machine is gone")
	})
	n.Run.Timeout = time.Millisecond
	w.config.grace = 50 * time.Millisecond
	begin := time.Now()
	_, err := w.run(context.Background(), n)
	if err == nil || !strings.Contains(err.Error(), "timed out after 1ms") {
		t.Errorf("error %v", err)
	}
	if d := time.Since(begin); d > time.Minute {
		t.Errorf("it took %v", d)
	}
}

// TestTraits records what the driver says of a layer, and asks it once more for a layer
// of which nothing is recorded, as in the store of an earlier bake.
func TestTraits(t *testing.T) {
	want := platforms.Traits{Arch: "riscv64"}
	w := newWorld(t)
	m := w.step(w.source("base"), "a")
	w.must(w.export(m, "web"))
	for k, e := range w.store.layers {
		if e.Traits != want {
			t.Errorf("recorded of %s: %+v", e.Name, e.Traits)
		}
		old := *e
		old.Traits = platforms.Traits{}
		w.store.layers[k] = &old
	}
	w.exports.made, w.exports.traits = map[string]string{}, platforms.Traits{}
	w.must(w.export(m, "web"))
	if n := w.count("a").Load(); n != 1 || w.exports.traits != want {
		t.Errorf("a ran %d times, and the artifact is of %+v", n, w.exports.traits)
	}
}
