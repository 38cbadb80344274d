package solve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/plan"
)

func TestPanicIsAnErrorOfItsNode(t *testing.T) {
	w := newWorld(t)
	w.config.KeepGoing = true
	base := w.source("base")
	bad := w.step(base, "bad", func(context.Context, platforms.Machine, plan.Env) error { panic("oops") })
	bad.Run.Retries = 3
	good := w.step(base, "good")
	_, err := w.run(context.Background(), bad, good)
	var p *PanicError
	if !errors.As(err, &p) || p.Value != "oops" || !strings.Contains(string(p.Stack), "failure_test.go") {
		t.Errorf("error %v", err)
	}
	w.ran("bad=1 good=1")
}

func TestDamagedLayerIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	var b *plan.Node
	build := func(last string) *plan.Node {
		w.define()
		b = w.step(w.step(w.source("base"), "a"), "b")
		return w.step(b, last)
	}
	w.must(build("c"))
	w.store.bad[b.Key] = true
	w.must(build("d"))
	w.ran("a=0 b=1 d=1")
}

func TestSourcesOfOtherNodes(t *testing.T) {
	w := newWorld(t)
	w.exports.dir = t.TempDir()
	a := w.step(w.source("base"), "a")
	disk := w.export(a, "disk")
	w.must(w.export(w.step(w.source("two", a), "x"), "dx"), w.export(w.source("three", disk), "dy"))
	for name, want := range map[string]string{"dx": `"two"("base"/a)/x`, "dy": `"three"("base"/a)`} {
		if _, got, _ := strings.Cut(w.exports.made[name], " "); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// A test of an artifact that is up to date needs nothing but its file.
func TestCheckOfAnArtifact(t *testing.T) {
	w := newWorld(t)
	w.exports.dir = t.TempDir()
	w.must(w.export(w.step(w.source("base"), "a"), "disk"))
	w.store.layers = newStore(t).layers
	w.define()
	disk := w.export(w.step(w.source("base"), "a"), "disk")
	var state string
	w.must(w.check(disk, "t", func(_ context.Context, s string) error {
		state = s
		return nil
	}))
	w.ran("a=0 t=1 disk=0")
	if !strings.HasPrefix(state, "raw ") || !strings.HasSuffix(state, `"base"/a`) {
		t.Errorf("the machine was launched from %q", state)
	}
}

func TestOnErrorKeep(t *testing.T) {
	w := newWorld(t)
	w.config.OnError = Keep
	_, err := w.run(context.Background(), w.step(w.step(w.source("base"), "a"), "b", failing("no")))
	var ne *NodeError
	if !errors.As(err, &ne) || ne.Kept.IsZero() {
		t.Fatalf("error %v", err)
	}
	e, err := w.store.Peek(ne.Kept)
	if err != nil || e.Ref != `"base"/a/b` || e.Kind != "failed shell" || e.Parent == "" {
		t.Errorf("kept %+v, %v", e, err)
	}
}

func TestOnErrorShell(t *testing.T) {
	w := newWorld(t)
	w.config.OnError = Shell
	var state string
	w.config.Shell = func(ctx context.Context, n *plan.Node, m platforms.Machine, failure error) error {
		if ctx.Err() != nil || failure.Error() != "no" || n.Name != "b" {
			t.Errorf("called with %v, %v, %s", ctx.Err(), failure, n.Name)
		}
		state = m.(*machine).state
		return nil
	}
	if _, err := w.run(context.Background(), w.step(w.step(w.source("base"), "a"), "b", failing("no"))); err == nil {
		t.Error("no error")
	}
	if state != `"base"/a/b` {
		t.Errorf("the shell saw %q", state)
	}
}

func TestSecretsAreMaskedAndCheckedFirst(t *testing.T) {
	w := newWorld(t)
	w.config.Secrets = func(name string) ([]byte, error) {
		if name == "token" {
			return []byte("hunter2"), nil
		}
		return nil, errors.New("BAKE_SECRET_" + strings.ToUpper(name) + " is not set")
	}
	a := w.step(w.source("base"), "a", func(ctx context.Context, m platforms.Machine, env plan.Env) error {
		v, err := env.Secrets("token")
		if err != nil {
			return err
		}
		fmt.Fprint(env.Out, "the token is hun")
		fmt.Fprint(env.Out, "ter2.\n")
		env.Out.Progress("https://"+string(v)+"@host", 1, 1)
		return fmt.Errorf("login with %s: refused", v)
	})
	a.Op.(*stepOp).Uses = []string{"token"}
	_, err := w.run(context.Background(), a)
	var ne *NodeError
	if !errors.As(err, &ne) || ne.Err.Error() != "login with ***: refused" || ne.Tail[0] != "the token is ***." {
		t.Errorf("error %v, %+v", err, ne)
	}
	if all := fmt.Sprint(w.events.all, w.events.logs, err); strings.Contains(all, "hunter2") {
		t.Errorf("the secret leaked: %s", all)
	}

	w.define()
	b := w.step(w.step(w.source("base"), "x"), "b")
	b.Op.(*stepOp).Uses = []string{"other"}
	_, err = w.run(context.Background(), b)
	if err == nil || !strings.Contains(err.Error(), `images.star:3:1: b: secret "other": BAKE_SECRET_OTHER is not set`) {
		t.Errorf("error %v", err)
	}
	w.ran("x=0 b=0")
}

func TestDecide(t *testing.T) {
	w := newWorld(t)
	w.must(w.step(w.step(w.source("base"), "a"), "b"))
	w.define()
	a := w.step(w.source("base"), "a")
	b := w.step(a, "b")
	c := w.step(b, "c")
	unused := w.step(a, "unused")
	always := w.step(b, "always")
	always.Run.Always = true
	after := w.step(always, "after")
	s, err := Decide(context.Background(), w.withLayers(), w.seal(), []*plan.Node{c, after})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		n      *plan.Node
		state  State
		reason string
	}{
		{a, Cached, ""}, {b, Cached, ""}, {c, ToRun, "no layer yet"}, {unused, NotNeeded, ""},
		{always, ToRun, "always runs"}, {after, ToRun, "follows always, which always runs"},
	} {
		if d := s.Of(tc.n); d.State != tc.state || d.Reason != tc.reason {
			t.Errorf("%s: %s, %q, want %s, %q", tc.n.Name, d.State, d.Reason, tc.state, tc.reason)
		}
	}
	if run, cached := s.Count(); run != 3 || cached != 3 {
		t.Errorf("%d to run, %d cached", run, cached)
	}
}

// A gate that needs what it gates is an error and no endless wait.
func TestNodeThatWaitsForItself(t *testing.T) {
	w := newWorld(t)
	disk := w.export(w.step(w.source("base"), "a"), "disk")
	disk.After = []*plan.Node{w.check(disk, "t")}
	gates := disk.After
	w.events = newRecorder()
	c := w.withLayers()
	c.Events = event.NewStream(w.events)
	p := w.seal()
	disk.After = gates
	_, err := Run(context.Background(), c, p, []*plan.Node{disk})
	if err == nil || !strings.Contains(err.Error(), "it waits for itself") {
		t.Errorf("error %v", err)
	}
}
