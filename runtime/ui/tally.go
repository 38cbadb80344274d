package ui

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"bake.build/bake/runtime/event"
)

// A tally counts the events of a build and sums it up.
type tally struct {
	dir    string // paths below it are shown relative
	total  int
	cached int
	done   int
	failed int
	undone int // canceled and skipped
	files  []artifact
	seen   map[string]bool
	keys   map[string]event.Type // how the nodes have ended, by their keys
	took   time.Duration
	ended  bool
}

type artifact struct {
	target, path string
	size         int64
}

// sizeText is empty for what has no size here, such as an image in a cloud.
func (a artifact) sizeText() string {
	if a.size == 0 {
		return ""
	}
	return Size(a.size)
}

func (a artifact) String() string {
	if size := a.sizeText(); size != "" {
		return a.path + " (" + size + ")"
	}
	return a.path
}

// event counts e. Nodes with one key are one step, which counts once: as it ended last,
// if it ran again.
func (t *tally) event(e event.Event) {
	if e.Node != nil && e.Node.Key != "" && (ends(e.Type) || e.Type == event.Started) {
		how, ended := t.keys[e.Node.Key]
		if e.Type == event.Started && ended {
			t.count(how, -1)
			delete(t.keys, e.Node.Key)
		} else if ended {
			return
		} else if e.Type != event.Started {
			if t.keys == nil {
				t.keys = map[string]event.Type{}
			}
			t.keys[e.Node.Key] = e.Type
		}
	}
	t.count(e.Type, 1)
	switch e.Type {
	case event.Planned:
		t.total = int(e.Total)
	case event.Artifact:
		if t.seen == nil {
			t.seen = map[string]bool{}
		}
		if !t.seen[e.Text] {
			t.seen[e.Text] = true
			a := artifact{path: t.short(e.Text), size: e.Total}
			if e.Node != nil {
				a.target = e.Node.Target
			}
			t.files = append(t.files, a)
		}
	case event.Finished:
		t.took, t.ended = e.Elapsed, true
	}
}

// count adds n nodes to those that have ended in a way.
func (t *tally) count(how event.Type, n int) {
	switch how {
	case event.Cached:
		t.cached += n
	case event.Done:
		t.done += n
	case event.Failed:
		t.failed += n
	case event.Canceled, event.Skipped:
		t.undone += n
	}
}

// ends returns how many nodes have ended.
func (t *tally) ends() int { return t.cached + t.done + t.failed + t.undone }

// short returns path relative to the directory, where it is below it.
func (t *tally) short(path string) string {
	if t.dir == "" {
		return path
	}
	rel, err := filepath.Rel(t.dir, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return path
	}
	return rel
}

// counts says how much of the build was cached, ran and so on.
func (t *tally) counts() string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{t.cached, "cached"}, {t.done, "run"}, {t.failed, "failed"}, {t.undone, "not run"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	s := plural(t.ends(), "step")
	if len(parts) > 0 {
		s += ": " + strings.Join(parts, ", ")
	}
	return s
}

// verdict is the last line of a build.
func (t *tally) verdict() string {
	if t.done+t.failed+t.undone == 0 && t.cached > 0 {
		return fmt.Sprintf("nothing to do: all is up to date (%s)", took(t.took))
	}
	return fmt.Sprintf("%s in %s", t.counts(), took(t.took))
}
