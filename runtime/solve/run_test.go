package solve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/plan"
)

type stepFunc = func(ctx context.Context, m platforms.Machine, env plan.Env) error

func failing(text string) stepFunc {
	return func(context.Context, platforms.Machine, plan.Env) error { return errors.New(text) }
}

func TestChainRunsInOneMachine(t *testing.T) {
	w := newWorld(t)
	build := func() *plan.Node {
		w.define()
		return w.export(w.step(w.step(w.step(w.source("base"), "a"), "b"), "c"), "disk")
	}
	res := w.must(build())
	w.ran("a=1 b=1 c=1 disk=1")
	if boots := w.driver.boots.Load(); boots != 1 {
		t.Errorf("%d machines for one chain", boots)
	}
	if res.Ran != 5 || res.Cached != 0 || res.Targets[0].State != Done {
		t.Errorf("result %+v", res)
	}
	if got := w.exports.made["disk"]; !strings.HasSuffix(got, ` "base"/a/b/c`) {
		t.Errorf("artifact is %s", got)
	}

	res = w.must(build())
	w.ran("a=0 b=0 c=0 disk=0")
	if res.Ran != 0 || res.Cached != 1 || res.Targets[0].State != Cached || len(res.Targets[0].Files) != 1 {
		t.Errorf("second result %+v", res)
	}
	if got := w.events.types("disk"); got != "cached" {
		t.Errorf("second events of the artifact: %s", got)
	}
}

func TestForkGoesOnWithTheLongestBranch(t *testing.T) {
	w := newWorld(t)
	a := w.step(w.source("base"), "a")
	short := w.step(a, "short")
	long := w.step(w.step(w.step(a, "l1"), "l2"), "l3")
	w.must(short, long)
	w.ran("a=1 short=1 l1=1 l2=1 l3=1")
	if boots := w.driver.boots.Load(); boots != 2 {
		t.Errorf("%d machines for two branches", boots)
	}
	if imports := w.driver.imports.Load(); imports != 1 {
		t.Errorf("%d imports", imports)
	}
}

func TestIdenticalNodesRunOnce(t *testing.T) {
	w := newWorld(t)
	a1, a2 := w.step(w.source("base"), "a"), w.step(w.source("base"), "a")
	a1.Name, a2.Name = "a1", "a2"
	res := w.must(w.export(a1, "x"), w.export(a2, "y"))
	w.ran("a=1 x=1 y=1")
	if got := w.events.types("a2"); got != "cached" {
		t.Errorf("events of the twin: %s", got)
	}
	if res.Ran != 4 {
		t.Errorf("%d ran, want 4", res.Ran)
	}
}

func TestResumesAtTheFailedStep(t *testing.T) {
	w := newWorld(t)
	c := w.step(w.step(w.step(w.source("base"), "a"), "b"), "c", func(ctx context.Context, m platforms.Machine, env plan.Env) error {
		for i := range 30 {
			fmt.Fprintf(env.Out, "line %d\n", i)
		}
		return &platforms.ExitError{Code: 3}
	})
	d := w.step(c, "d")
	res, err := w.run(context.Background(), d)
	var ne *NodeError
	if !errors.As(err, &ne) {
		t.Fatalf("error %v", err)
	}
	if err.Error() != "images.star:3:1: c: exit status 3" {
		t.Errorf("error %q", err)
	}
	if len(ne.Tail) != 20 || ne.Tail[19] != "line 29" || ne.LogPath == "" {
		t.Errorf("tail %q, log %q", ne.Tail, ne.LogPath)
	}
	var exit *platforms.ExitError
	if !errors.As(err, &exit) {
		t.Error("the cause is lost")
	}
	if res.Ran != 3 || res.Failed != 1 || res.Stopped != 1 || res.Targets[0].State != Skipped {
		t.Errorf("result %+v", res)
	}
	if got := w.events.nodes["d"]; len(got) != 1 || got[0] != "skipped needs c, which failed" {
		t.Errorf("events of d: %q", got)
	}

	w.define()
	w.driver.boots.Store(0)
	w.must(w.step(w.step(w.step(w.step(w.source("base"), "a"), "b"), "c"), "d"))
	w.ran("a=0 b=0 c=1 d=1")
	if boots := w.driver.boots.Load(); boots != 1 {
		t.Errorf("%d machines", boots)
	}
}

func TestKeepGoing(t *testing.T) {
	w := newWorld(t)
	w.config.KeepGoing = true
	base := w.source("base")
	bad := w.step(w.step(base, "bad", failing("no")), "after bad")
	bad2 := w.step(base, "bad2", failing("no2"))
	good := w.step(w.step(base, "good"), "better")
	res, err := w.run(context.Background(), bad, bad2, good)
	w.ran("bad=1 bad2=1 good=1 better=1")
	if err == nil || !strings.Contains(err.Error(), "bad: no\n") || !strings.Contains(err.Error(), "bad2: no2") {
		t.Errorf("error %v", err)
	}
	if res.Failed != 2 || res.Stopped != 1 || res.Targets[2].State != Done {
		t.Errorf("result %+v", res)
	}
}

func TestFailureStopsWhatRuns(t *testing.T) {
	w := newWorld(t)
	base := w.source("base")
	running := make(chan struct{})
	slow := w.step(base, "slow", func(ctx context.Context, _ platforms.Machine, _ plan.Env) error {
		close(running)
		<-ctx.Done()
		return &platforms.ExitError{Code: -1, Signal: "killed"}
	})
	bad := w.step(base, "bad", func(context.Context, platforms.Machine, plan.Env) error {
		<-running
		return errors.New("no")
	})
	res, err := w.run(context.Background(), w.step(slow, "after"), bad)
	if err == nil || strings.Contains(err.Error(), "killed") {
		t.Errorf("error %v", err)
	}
	if got := w.events.types("slow"); got != "started canceled" {
		t.Errorf("events of slow: %s", got)
	}
	if res.Failed != 1 || res.Stopped != 2 {
		t.Errorf("result %+v", res)
	}
}

func TestCancelKeepsWhatWasCommitted(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	interrupted := errors.New("interrupted")
	a := w.step(w.source("base"), "a")
	b := w.step(a, "b", func(ctx context.Context, _ platforms.Machine, _ plan.Env) error {
		cancel(interrupted)
		<-ctx.Done()
		return ctx.Err()
	})
	begin := time.Now()
	_, err := w.run(ctx, w.step(b, "c"))
	if !errors.Is(err, interrupted) {
		t.Errorf("error %v", err)
	}
	if time.Since(begin) > time.Minute {
		t.Errorf("it took %v to stop", time.Since(begin))
	}
	if w.store.layers[a.Key] == nil || w.store.layers[b.Key] != nil {
		t.Error("the store does not hold a alone")
	}
	if got := w.events.types("b") + ", " + w.events.types("c"); got != "started canceled, skipped" {
		t.Errorf("events: %s", got)
	}
}

func TestRetriesBeginInANewMachine(t *testing.T) {
	w := newWorld(t)
	var tries atomic.Int32
	a := w.step(w.source("base"), "a")
	b := w.step(a, "b", func(context.Context, platforms.Machine, plan.Env) error {
		if tries.Add(1) < 3 {
			return errors.New("flaky")
		}
		return nil
	})
	b.Run.Retries = 2
	w.must(w.export(b, "disk"))
	w.ran("a=1 b=3")
	if got := w.exports.made["disk"]; !strings.HasSuffix(got, ` "base"/a/b`) {
		t.Errorf("artifact is %s: a failed try left its traces", got)
	}
	if got := w.events.types("b"); got != "started retry retry done" {
		t.Errorf("events: %s", got)
	}
}

func TestTimeout(t *testing.T) {
	w := newWorld(t)
	a := w.step(w.source("base"), "a", func(ctx context.Context, _ platforms.Machine, _ plan.Env) error {
		<-ctx.Done()
		return &platforms.ExitError{Code: -1, Signal: "killed"}
	})
	a.Run.Timeout = 20 * time.Millisecond
	_, err := w.run(context.Background(), a)
	if err == nil || !strings.HasSuffix(err.Error(), "a: timed out after 20ms") {
		t.Errorf("error %v", err)
	}
}

func TestShortDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		90 * time.Second: "90s", 5 * time.Minute: "5m", 90 * time.Minute: "1h30m", 2 * time.Hour: "2h",
		1500 * time.Millisecond: "1.5s", 125 * time.Second: "2m5s",
	} {
		if got := short(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

func TestGates(t *testing.T) {
	w := newWorld(t)
	build := func(result error) *plan.Node {
		w.define()
		a := w.step(w.source("base"), "a")
		w.check(a, "t", func(_ context.Context, state string) error {
			if state != `"base"/a` {
				return fmt.Errorf("state %s", state)
			}
			return result
		})
		return w.export(w.step(a, "b"), "disk")
	}
	_, err := w.run(context.Background(), build(errors.New("does not answer")))
	if err == nil || !strings.HasSuffix(err.Error(), "t: does not answer") {
		t.Errorf("error %v", err)
	}
	w.ran("a=1 t=1 b=0 disk=0")
	w.must(build(nil))
	w.ran("a=0 t=1 b=1 disk=1")
	w.must(build(nil))
	w.ran("a=0 t=0 b=0 disk=0")
}

// A test that is added after its artifact was made still has to pass.
func TestGateOfACurrentArtifact(t *testing.T) {
	w := newWorld(t)
	w.must(w.export(w.step(w.source("base"), "a"), "disk"))
	for _, result := range []error{errors.New("no"), nil} {
		w.define()
		a := w.step(w.source("base"), "a")
		w.check(a, "t", func(context.Context, string) error { return result })
		res, err := w.run(context.Background(), w.export(a, "disk"))
		w.ran("a=0 t=1 disk=0")
		if (err == nil) != (result == nil) {
			t.Errorf("error %v", err)
		}
		want := Cached
		if result != nil {
			want = Skipped
		}
		if res.Targets[0].State != want {
			t.Errorf("state %s, want %s", res.Targets[0].State, want)
		}
	}
}

func TestAlways(t *testing.T) {
	w := newWorld(t)
	build := func() *plan.Node {
		w.define()
		a := w.step(w.source("base"), "a")
		b := w.step(a, "b")
		b.Run.Always = true
		return w.export(w.step(b, "c"), "disk")
	}
	for i := range 2 {
		w.must(build())
		w.ran(fmt.Sprintf("a=%d b=1 c=1 disk=1", 1-i))
	}
	w.define()
	b := w.step(w.step(w.source("base"), "a"), "b")
	w.must(b)
	w.ran("a=0 b=1") // what always ran is nobody's cache
}

func TestJobsBoundMachines(t *testing.T) {
	for _, tc := range []struct{ jobs, max, want int }{{1, 0, 1}, {2, 0, 2}, {4, 3, 3}, {8, 1, 1}} {
		w := newWorld(t)
		w.config.Jobs, w.driver.max = tc.jobs, tc.max
		base := w.source("base")
		var targets []*plan.Node
		for i := range 8 {
			s := w.step(base, fmt.Sprint("s", i), func(context.Context, platforms.Machine, plan.Env) error {
				time.Sleep(5 * time.Millisecond)
				return nil
			})
			targets = append(targets, s, w.check(s, fmt.Sprint("t", i)))
		}
		w.must(targets...)
		if most := int(w.driver.most.Load()); most > tc.want {
			t.Errorf("-j %d, platform's limit %d: %d machines at once", tc.jobs, tc.max, most)
		}
		if tc.want > 1 && w.driver.most.Load() < 2 {
			t.Errorf("-j %d: nothing ran in parallel", tc.jobs)
		}
	}
}

func TestClaims(t *testing.T) {
	w := newWorld(t)
	w.config.Claims = func(n *plan.Node) []Claim { return []Claim{{Resource: "memory", Amount: 3, Capacity: 4}} }
	base := w.source("base")
	w.must(w.step(base, "a"), w.step(base, "b"), w.step(base, "c"))
	if most := w.driver.most.Load(); most != 1 {
		t.Errorf("%d machines at once", most)
	}
	told := strings.Join(w.events.all, "\n")
	if !strings.Contains(told, "waiting memory") {
		t.Errorf("the wait is not told:\n%s", told)
	}
}

func TestTwoRunsInOneStore(t *testing.T) {
	one := newWorld(t)
	two := newWorld(t)
	two.store, two.config.Store = one.store, one.store
	two.driver, two.config.Drivers = one.driver, one.config.Drivers
	total := map[string]*atomic.Int32{}
	var wg sync.WaitGroup
	for _, w := range []*world{one, two} {
		n := w.source("base")
		var targets []*plan.Node
		for i := range 6 {
			name := fmt.Sprint("s", i)
			if total[name] == nil {
				total[name] = &atomic.Int32{}
			}
			n = w.step(n, name, func(context.Context, platforms.Machine, plan.Env) error {
				total[name].Add(1)
				time.Sleep(2 * time.Millisecond)
				return nil
			})
			targets = append(targets, n)
		}
		rec := newRecorder()
		w.events = rec
		p := w.seal()
		wg.Go(func() {
			c := w.withLayers()
			c.Events = event.NewStream(rec)
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
	if n := one.driver.open.Load(); n != 0 {
		t.Errorf("%d machines are left open", n)
	}
}
