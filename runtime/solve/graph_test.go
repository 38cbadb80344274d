package solve

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"pgregory.net/rapid"
)

// drawGraph defines a random plan and returns its artifacts and tests.
func drawGraph(t *rapid.T, w *world) (targets []*plan.Node) {
	layers := []*plan.Node{w.source("s0")}
	for i := range rapid.IntRange(1, 14).Draw(t, "nodes") {
		on := rapid.SampledFrom(layers).Draw(t, "on")
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0:
			layers = append(layers, w.source(fmt.Sprint("s", i+1), on))
		case 1:
			targets = append(targets, w.check(on, fmt.Sprint("t", i)))
		case 2, 3:
			targets = append(targets, w.export(on, fmt.Sprint("x", i)))
		default:
			// Few names, so that some nodes are identical.
			layers = append(layers, w.step(on, string(rune('a'+rapid.IntRange(0, 3).Draw(t, "name")))))
		}
	}
	targets = append(targets, w.export(layers[len(layers)-1], "last"))
	return rapid.Permutation(targets).Draw(t, "targets")
}

// What is made does not depend on how many machines there are nor on the order
// of targets; each key runs once, and nothing runs twice.
func TestAnyGraph(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		targets := drawGraph(rt, w)
		distinct := map[plan.Key]bool{}
		w.config.Jobs = 1
		res := w.must(targets...)
		for _, n := range w.b.Plan().Nodes {
			if d := res.Ran; d > 0 {
				distinct[n.Key] = true
			}
		}
		if res.Ran > len(distinct) || res.Failed+res.Stopped > 0 {
			rt.Fatalf("%d of %d keys ran, %+v", res.Ran, len(distinct), res)
		}
		want := contents(w)

		// Again, in parallel, in an empty store.
		v := newWorld(t)
		v.b, v.counts = w.b, w.counts
		v.config.Jobs = rapid.IntRange(2, 6).Draw(rt, "jobs")
		again := v.must(rapid.Permutation(targets).Draw(rt, "again")...)
		if again.Ran != res.Ran {
			rt.Fatalf("%d ran in parallel, %d alone", again.Ran, res.Ran)
		}
		if got := contents(v); !maps.Equal(got, want) {
			rt.Fatalf("in parallel %v, alone %v", got, want)
		}
		if third := v.must(targets...); third.Ran != 0 {
			rt.Fatalf("%d ran though nothing changed", third.Ran)
		}
	})
}

// contents returns every layer and artifact of a world.
func contents(w *world) map[string]string {
	all := maps.Clone(w.exports.made)
	for k, e := range w.store.layers {
		all[k.String()] = e.Ref
	}
	return all
}

// Wherever a build fails or is stopped, what it left is right, and the next
// build completes it without a step that has succeeded.
func TestAnyInterruption(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		targets := drawGraph(rt, w)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		w.config.KeepGoing = rapid.Bool().Draw(rt, "keep going")
		stop := rapid.Bool().Draw(rt, "stop")
		for _, n := range w.b.Plan().Nodes {
			op, ok := n.Op.(*stepOp)
			if ok && rapid.IntRange(0, 3).Draw(rt, "fails") == 0 {
				op.Do = func(ctx context.Context, m platforms.Machine, env plan.Env) error {
					if stop {
						cancel()
						return ctx.Err()
					}
					return fmt.Errorf("no")
				}
			}
		}
		first, err := w.run(ctx, targets...)
		if (err == nil) != (first.Failed+first.Stopped == 0) {
			rt.Fatalf("%+v, error %v", first, err)
		}
		for _, n := range w.b.Plan().Nodes {
			if op, ok := n.Op.(*stepOp); ok {
				op.Do = nil
			}
		}
		had := maps.Clone(w.store.layers)
		second := w.must(targets...)
		for k := range had {
			if w.store.layers[k] != had[k] {
				rt.Fatal("a layer was made again")
			}
		}
		if second.Failed+second.Stopped > 0 {
			rt.Fatalf("%+v", second)
		}
	})
}

func TestNoGoroutineIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 5 {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(context.Background())
		base := w.source("base")
		var targets []*plan.Node
		for i := range 10 {
			s := w.step(base, fmt.Sprint("s", i), func(ctx context.Context, _ platforms.Machine, _ plan.Env) error {
				cancel()
				<-ctx.Done()
				return ctx.Err()
			})
			s.Run.Timeout = time.Minute
			targets = append(targets, w.step(s, "next"))
		}
		if _, err := w.run(ctx, targets...); err == nil {
			t.Error("no error")
		}
		cancel()
	}
	eventually(t, "the goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

// A plan of thousands of nodes must not cost more than its nodes.
func TestLargePlan(t *testing.T) {
	w := newWorld(t)
	w.config.LogDir = ""
	base := w.source("base")
	var targets []*plan.Node
	for i := range 300 {
		n := base
		for j := range 10 {
			n = w.step(n, fmt.Sprint(i, ".", j))
		}
		targets = append(targets, n)
	}
	w.config.Jobs = 8
	begin := time.Now()
	if res := w.must(targets...); res.Ran != 3001 {
		t.Errorf("%d ran", res.Ran)
	}
	if took := time.Since(begin); took > 5*time.Minute {
		t.Errorf("3,000 steps took %v", took)
	}
	begin = time.Now()
	if res := w.must(targets...); res.Ran != 0 || res.Cached != 3001 {
		t.Errorf("%+v", res)
	}
	if took := time.Since(begin); took > 2*time.Minute {
		t.Errorf("3,000 cached steps took %v", took)
	}
}
