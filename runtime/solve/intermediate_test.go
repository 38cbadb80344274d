package solve

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"bake.build/bake/runtime/plan"
)

// with adds an export that is made with disks.
func (w *world) with(parent *plan.Node, name string, disks ...*plan.Node) *plan.Node {
	return w.b.Add(&plan.Node{Op: &exportOp{Name: name, Ran: w.count(name)}, Name: name, Deps: []*plan.Node{parent}, Uses: disks})
}

func (w *world) disk(parent *plan.Node, name string) *plan.Node {
	return w.b.Add(&plan.Node{Op: &diskOp{Name: name}, Name: name, Deps: []*plan.Node{parent}})
}

// life returns what became of the disks since it was last asked.
func (w *world) life() []string {
	w.exports.mu.Lock()
	defer w.exports.mu.Unlock()
	life := w.exports.life
	w.exports.life = nil
	return life
}

// TestIntermediate makes a disk once for all that use it, for those alone that run,
// and lets go of it after the last.
func TestIntermediate(t *testing.T) {
	w := newWorld(t)
	w.config.MaxExports = 1 // in the order of definition
	define := func(names ...string) []*plan.Node {
		w.define()
		base := w.source("base")
		again := w.source("base") // an identical layer: its disk is the same one
		var targets []*plan.Node
		for i, name := range names {
			layer := []*plan.Node{base, again}[i%2]
			targets = append(targets, w.with(layer, name, w.disk(layer, "disk")))
		}
		return targets
	}
	res := w.must(define("one", "two")...)
	if got, want := w.life(), []string{"make disk", "one uses disk", "two uses disk", "release disk"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if res.Ran != 4 || len(res.Targets[0].Files) != 1 || res.Targets[0].Files[0].Path != "one" {
		t.Errorf("result %+v", res)
	}
	if told := strings.Join(w.events.all, "\n"); strings.Contains(told, "artifact disk") {
		t.Errorf("the disk is told as an artifact:\n%s", told)
	}
	w.must(define("one", "two")...)
	if got := w.life(); len(got) > 0 {
		t.Errorf("nothing was to be done, and %q", got)
	}
	w.must(define("one", "two", "three")...)
	if got, want := w.life(), []string{"make disk", "three uses disk", "release disk"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestIntermediateOfFailures lets go of a disk whatever becomes of what uses it.
func TestIntermediateOfFailures(t *testing.T) {
	no := errors.New("no")
	for name, c := range map[string]struct {
		keepGoing bool
		want      string
	}{
		"stop":       {false, "make disk,bad uses disk,release disk"},
		"keep going": {true, "make disk,bad uses disk,good uses disk,release disk"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.config.MaxExports, w.config.KeepGoing = 1, c.keepGoing
			w.exports.fail = map[string]error{"bad": no}
			base := w.source("base")
			disk := w.disk(base, "disk")
			if _, err := w.run(context.Background(), w.with(base, "bad", disk), w.with(base, "good", disk)); !errors.Is(err, no) {
				t.Errorf("error %v", err)
			}
			if got := strings.Join(w.life(), ","); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	t.Run("nothing uses it", func(t *testing.T) {
		w := newWorld(t)
		w.config.KeepGoing = true
		base := w.source("base")
		disk := w.disk(base, "disk")
		user := w.with(w.step(base, "step", failing("no")), "web", disk)
		if _, err := w.run(context.Background(), user); err == nil {
			t.Error("no error")
		}
		if got := strings.Join(w.life(), ","); got != "make disk,release disk" {
			t.Error(got)
		}
	})
}
