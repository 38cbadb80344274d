package build_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/fake"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/solve"
)

// A log counts events by their type.
type log struct {
	mu     sync.Mutex
	events map[event.Type]int
}

func (l *log) Event(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.events == nil {
		l.events = map[event.Type]int{}
	}
	l.events[e.Type]++
}

// config returns the configuration of a program with one platform, the fake.
func config(t *testing.T, definition string) build.Config {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "images.star"), []byte(definition), 0o644); err != nil {
		t.Fatal(err)
	}
	return build.Config{
		Platforms: []platforms.Spec{fake.Spec("fake", &fake.Driver{})},
		Builtins:  builtins.Table(),
		Formats:   export.Formats(),
		Dir:       dir,
		StoreDir:  filepath.Join(t.TempDir(), "store"),
	}
}

const chain = `
word = param("word", default = "hello")
m = source(fake(), text = "origin")
m = write(m, "/etc/word", word)
export(m, "web", formats = ["tar"])
`

// TestLibrary goes through a build as a program of another's would: plan, run, plan
// again, change a parameter, explain.
func TestLibrary(t *testing.T) {
	c := config(t, chain)
	plan := func(c build.Config, use func(*build.Build, *solve.Schedule, []builtins.Target)) {
		t.Helper()
		err := build.Use(t.Context(), c, "images.star", func(b *build.Build) error {
			targets, err := build.Choose(build.Targets(b.Definition), nil)
			if err != nil {
				return err
			}
			schedule, err := b.Plan(t.Context(), targets)
			if err != nil {
				return err
			}
			use(b, schedule, targets)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	plan(c, func(b *build.Build, s *solve.Schedule, targets []builtins.Target) {
		if run, cached := s.Count(); run != 3 || cached != 0 {
			t.Errorf("at first %d run and %d are cached", run, cached)
		}
		var seen log
		result, err := b.Run(t.Context(), targets, build.Options{Events: &seen})
		if err != nil {
			t.Fatal(err)
		}
		if result.Ran != 3 || seen.events[event.Done] != 3 || seen.events[event.Finished] != 1 {
			t.Errorf("%d ran; events %v", result.Ran, seen.events)
		}
		if got := result.Targets[0].Files[0].Path; got != filepath.Join(c.Dir, "out/web/web.tar") {
			t.Errorf("the artifact is %s", got)
		}
	})
	plan(c, func(b *build.Build, s *solve.Schedule, targets []builtins.Target) {
		if run, cached := s.Count(); run != 0 || cached == 0 {
			t.Errorf("then %d run and %d are cached", run, cached)
		}
		d, err := b.Describe(targets, s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(d); err != nil {
			t.Error(err)
		}
		if len(d.Nodes) != 3 || d.Nodes[2].Kind != "export" || !slices.Equal(d.Nodes[2].DependsOn, []int{1}) || len(d.Targets[0].Files) == 0 {
			t.Errorf("described as %+v", d)
		}
	})
	c.Params = []string{"word=other"}
	plan(c, func(b *build.Build, s *solve.Schedule, _ []builtins.Target) {
		if run, _ := s.Count(); run != 2 {
			t.Errorf("after a change %d run", run)
		}
		past, err := b.Past()
		if err != nil {
			t.Fatal(err)
		}
		n, err := build.Find(b.Definition, "web")
		if err != nil {
			t.Fatal(err)
		}
		changes, known := past.Changes(n)
		if !known || len(changes) != 1 || changes[0].Node.Op.Kind() != "write" {
			t.Errorf("changes %+v, known %v", changes, known)
		}
	})
}

// TestErrorKinds says who can mend an error.
func TestErrorKinds(t *testing.T) {
	c := config(t, chain)
	use := func(c build.Config, file string, use func(*build.Build) error) error {
		return build.Use(t.Context(), c, file, use)
	}
	nothing := func(*build.Build) error { return nil }
	if err := use(c, "other.star", nothing); build.KindOf(err) != build.KindDefinition {
		t.Errorf("no definition: %v, of kind %q", err, build.KindOf(err))
	}
	wrong := c
	wrong.Params = []string{"world=1"}
	err := use(wrong, "images.star", nothing)
	var source *build.SourceError
	if build.KindOf(err) != build.KindDefinition || !errors.As(err, &source) || source.Project == nil {
		t.Errorf("an unknown parameter: %v, of kind %q", err, build.KindOf(err))
	}
	err = use(c, "images.star", func(b *build.Build) error {
		_, err := build.Choose(build.Targets(b.Definition), []string{"wbe"})
		return err
	})
	if build.KindOf(err) != build.KindUsage || !strings.Contains(err.Error(), "web") {
		t.Errorf("an unknown target: %v, of kind %q", err, build.KindOf(err))
	}
	noRights := c
	noRights.Rights = func() error { return errors.New("no rights") }
	ran := false
	err = use(noRights, "images.star", func(b *build.Build) error {
		ran = true
		_, err := b.Run(t.Context(), b.Definition.Artifacts, build.Options{})
		return err
	})
	if !ran || build.KindOf(err) != build.KindHost || !strings.Contains(err.Error(), "no rights") {
		t.Errorf("no rights: %v, of kind %q; looked at the definition: %v", err, build.KindOf(err), ran)
	}
	run := func(b *build.Build) error {
		_, err := b.Run(t.Context(), b.Definition.Artifacts, build.Options{})
		return err
	}
	if err := errors.Join(use(c, "images.star", run), use(noRights, "images.star", run)); err != nil {
		t.Errorf("no rights, and nothing to do: %v", err)
	}
}

// TestCanceled stops a build before it begins.
func TestCanceled(t *testing.T) {
	c := config(t, chain)
	err := build.Use(t.Context(), c, "images.star", func(b *build.Build) error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := b.Run(ctx, b.Definition.Artifacts, build.Options{})
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
