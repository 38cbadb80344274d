package lock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/module"
	"github.com/google/go-cmp/cmp"
)

// mirror is a driver that only pins: it stands for a mirror whose state moves.
type mirror struct {
	platforms.Driver
	state string
	asked atomic.Int32
	fail  error
}

func (m *mirror) Pin(_ context.Context, o platforms.Origin) (platforms.Origin, error) {
	m.asked.Add(1)
	if m.fail != nil {
		return o, m.fail
	}
	if o.Pin == nil || o.Pin.ID != m.state {
		o.Pin = &platforms.Pin{ID: m.state, Date: "2026-11-01T00:00:00Z"}
	}
	return o, nil
}

func (m *mirror) PinName(o platforms.Origin) string {
	var opts struct{ Suite string }
	if err := o.Decode(&opts); err != nil {
		return ""
	}
	return "suite " + opts.Suite
}

type source struct{ origin platforms.Origin }

func (*source) Kind() string               { return "source" }
func (s *source) Origin() platforms.Origin { return s.origin }

func planOf(suites ...string) *plan.Plan {
	var b plan.Builder
	for i, s := range suites {
		opts, _ := json.Marshal(map[string]any{"suite": s, "n": i})
		b.Add(&plan.Node{
			Op:       &source{platforms.Origin{Kind: "suite", Options: opts}},
			Platform: &plan.Platform{Name: "fake"},
			Pos:      []plan.Pos{{File: "images.star", Line: i + 1, Col: 1}},
		})
	}
	return b.Plan()
}

func resolver(t *testing.T, path string, m *mirror) *Resolver {
	t.Helper()
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return &Resolver{File: f, Drivers: func(*plan.Platform) (platforms.Driver, error) { return m, nil }}
}

func TestPinIsMadeOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), Name)
	m := &mirror{state: "sha256:one"}
	r := resolver(t, path, m)
	var told []*plan.Node
	r.Changed = func(n *plan.Node, _ *platforms.Pin, _ platforms.Pin) { told = append(told, n) }
	p := planOf("bookworm", "bookworm")
	if err := r.Pin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := r.File.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.asked.Load() != 1 || len(told) != 1 || told[0] != p.Nodes[0] || r.File.Get("fake suite bookworm") == nil {
		t.Fatalf("asked %d times, told %v", m.asked.Load(), told)
	}

	m.state = "sha256:two"
	r = resolver(t, path, m)
	p = planOf("bookworm")
	if err := r.Pin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := p.Nodes[0].Pin.ID; got != "sha256:one" {
		t.Errorf("pin %s, want that of the file", got)
	}
	if m.asked.Load() != 1 {
		t.Error("the driver was asked although the file has the pin")
	}

	r.Update = true
	if err := r.Pin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := p.Nodes[0].Pin.ID; got != "sha256:two" {
		t.Errorf("after update: pin %s", got)
	}
}

// madeSource starts from what its first dependency makes.
type madeSource struct{ source }

func (*madeSource) Links() map[string]int { return map[string]int{"suite": 0} }

// What another node makes does not exist when origins are pinned, so that a
// driver could only fail; and the key has all of it.
func TestMadeOriginsHaveNoPin(t *testing.T) {
	m := &mirror{state: "sha256:one"}
	r := resolver(t, filepath.Join(t.TempDir(), Name), m)
	var b plan.Builder
	n := b.Add(&plan.Node{Op: &madeSource{source{platforms.Origin{Kind: "suite"}}}, Platform: &plan.Platform{Name: "fake"}})
	p := b.Plan()
	if err := r.Pin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if moved, err := r.Confirm(t.Context(), p.Nodes); err != nil || moved {
		t.Fatalf("moved %v, %v", moved, err)
	}
	if n.Pin != nil || m.asked.Load() > 0 {
		t.Errorf("pin %v; asked %d times", n.Pin, m.asked.Load())
	}
}

func TestConfirm(t *testing.T) {
	path := filepath.Join(t.TempDir(), Name)
	m := &mirror{state: "sha256:one"}
	r := resolver(t, path, m)
	p := planOf("bookworm")
	if err := errors.Join(r.Pin(t.Context(), p), r.File.Save(t.Context())); err != nil {
		t.Fatal(err)
	}
	if moved, err := r.Confirm(t.Context(), p.Nodes); err != nil || moved {
		t.Fatalf("moved %v, %v: nothing changed", moved, err)
	}
	m.state = "sha256:two"
	locked := resolver(t, path, m)
	locked.Locked = true
	if err := locked.Pin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, err := locked.Confirm(t.Context(), p.Nodes); !errors.Is(err, ErrLocked) || !strings.HasPrefix(err.Error(), "images.star:1:1: ") {
		t.Errorf("locked: %v", err)
	}
	moved, err := r.Confirm(t.Context(), p.Nodes)
	if err != nil || !moved || p.Nodes[0].Pin.ID != "sha256:two" {
		t.Errorf("moved %v, %v, pin %v", moved, err, p.Nodes[0].Pin)
	}
}

func TestDriverErrorHasPosition(t *testing.T) {
	m := &mirror{fail: errors.New("no such suite")}
	r := resolver(t, filepath.Join(t.TempDir(), Name), m)
	err := r.Pin(t.Context(), planOf("bokworm"))
	if err == nil || err.Error() != "images.star:1:1: source: no such suite" {
		t.Errorf("got %v", err)
	}
}

func TestSaveKeepsFileSorted(t *testing.T) {
	path := filepath.Join(t.TempDir(), Name)
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("an empty lock was written")
	}
	f.Set("b", platforms.Pin{ID: "2"})
	f.Set("a", platforms.Pin{ID: "1"})
	if err := f.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := string(data)
	if a, b := strings.Index(s, `"a"`), strings.Index(s, `"b"`); a < 0 || b < a {
		t.Errorf("file: %s", s)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

// TestSaveKeepsOthers has files that were all loaded before any was saved, as of
// builds that run at once, each with a pin of its own and one for all.
func TestSaveKeepsOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), Name)
	const builds = 25
	files := make([]*File, builds)
	for i := range files {
		f, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		f.Set(fmt.Sprint("own ", i), platforms.Pin{ID: fmt.Sprint(i)})
		f.Set("shared", platforms.Pin{ID: "same"})
		files[i] = f
	}
	var g sync.WaitGroup
	for _, f := range files {
		g.Go(func() {
			if err := f.Save(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		if p := f.Get(fmt.Sprint("own ", i)); p == nil || p.ID != fmt.Sprint(i) {
			t.Errorf("pin of build %d: %v", i, p)
		}
	}
	if len(f.content.Pins) != builds+1 {
		t.Errorf("%d pins, want %d", len(f.content.Pins), builds+1)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no json": "pins", "other version": `{"version": 9}`,
		"a second value": `{"version": 1, "pins": {}} {"version": 1, "pins": {"a": {"id": "x"}}}`,
		"conflict marks": "{\"version\": 1, \"pins\": {}}\n>>>>>>> theirs\n",
		"unknown field":  `{"version": 1, "pin": {}}`, "no id": `{"version": 1, "pins": {"a": {}}}`,
		"no digest": `{"version": 1, "modules": {"modules": {"a/b": {"version": "v1.0.0", "source": "oci://h/r"}}}}`,
		"a folder":  `{"version": 1, "modules": {"modules": {"a/b": {"version": "v1.0.0", "source": "file:../b", "digest": "sha256:` + strings.Repeat("0", 64) + `"}}}}`,
		"a path":    `{"version": 1, "modules": {"modules": {"../b": {"version": "v1.0.0", "source": "oci://h/r", "digest": "sha256:` + strings.Repeat("0", 64) + `"}}}}`,
	} {
		path := filepath.Join(t.TempDir(), Name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version": 1, "pins": {"a": {"id": "x"}}}`))
	f.Add([]byte(`{"version": 1, "modules": {"asked": "sha256:1", "modules": {"a/b": {"version": "v1.0.0", "source": "oci://h/r", "digest": "sha256:` + strings.Repeat("0", 64) + `"}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse(data)
		for name, p := range c.Pins {
			if err == nil && p.ID == "" {
				t.Errorf("pin %q without id", name)
			}
		}
		if err != nil || c.Modules == nil {
			return
		}
		for path, m := range c.Modules.Modules {
			if ref, ok := c.Modules.Ref(path); !ok || ref.Version == "" || ref.Source.Local() {
				t.Errorf("module %s of %+v: %v", path, m, ref)
			}
		}
	})
}

// TestModules holds that modules and pins are saved beside each other.
func TestModules(t *testing.T) {
	path := filepath.Join(t.TempDir(), Name)
	one, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := &module.Lock{Asked: "sha256:1", Modules: map[string]module.Locked{
		"acme.example/golden": {Version: "v1.4.0", Source: "oci://registry.example/golden", Digest: module.Digest("sha256:" + strings.Repeat("0", 64))},
	}}
	one.SetModules(want)
	two.Set("debian", platforms.Pin{ID: "x"})
	for _, f := range []*File{one, two} {
		if err := f.Save(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	both, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, both.Modules()); diff != "" || both.Get("debian") == nil {
		t.Errorf("pins %v, modules (-want +got):\n%s", both.content.Pins, diff)
	}
	both.SetModules(nil)
	if err := both.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "modules") {
		t.Errorf("%v: %s", err, text)
	}
}
