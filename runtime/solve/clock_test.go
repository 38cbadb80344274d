package solve

import (
	"testing"
	"testing/synctest"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// TestClock holds that a step's time limit does not run while it waits.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var ended time.Duration
		c := startClock(5*time.Second, func() { ended = time.Since(begin) })
		time.Sleep(2 * time.Second)
		resume, again := c.pause(), c.pause()
		time.Sleep(time.Minute)
		resume()
		resume()
		time.Sleep(time.Minute)
		again()
		time.Sleep(time.Minute)
		synctest.Wait()
		if ended != 2*time.Minute+5*time.Second {
			t.Errorf("it ended after %v", ended)
		}
		stopped := startClock(time.Second, func() { t.Error("it went on") })
		stopped.pause()
		time.Sleep(time.Minute)
		(*clock)(nil).pause()()
	})
}

// TestTrust holds which steps share caches.
func TestTrust(t *testing.T) {
	source := func(id, mirror string) *plan.Node {
		return &plan.Node{Pin: &platforms.Pin{ID: id, Detail: map[string]string{"main": mirror}}}
	}
	on := func(n *plan.Node) *plan.Node { return &plan.Node{Deps: []*plan.Node{{Deps: []*plan.Node{n}}}} }
	unpinned, other := &plan.Node{}, &plan.Node{}
	ids := map[*plan.Node]identity{unpinned: {key: plan.Key{1}}, other: {key: plan.Key{2}}}
	in := func(project string, n *plan.Node) string {
		return (&run{c: &Config{Project: project}, sched: &Schedule{ids: ids}}).trust(n)
	}
	base := in("/a", on(source("sha256:1", "x")))
	if same := in("/a", on(on(source("sha256:1", "x")))); same != base {
		t.Errorf("two steps on one pin of one project do not trust each other: %s, %s", base, same)
	}
	for name, got := range map[string]string{
		"another project": in("/b", on(source("sha256:1", "x"))),
		"another pin":     in("/a", on(source("sha256:2", "x"))),
		"another mirror":  in("/a", on(source("sha256:1", "y"))),
		"no pin":          in("/a", on(unpinned)),
	} {
		if got == base {
			t.Errorf("%s shares the caches", name)
		}
	}
	if in("/a", on(unpinned)) == in("/a", on(other)) {
		t.Error("two origins without pins share their caches")
	}
}
