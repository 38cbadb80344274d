package layers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store"
)

// A local driver keeps its layers in the store.
type local struct{ platforms.Driver }

func (local) Describe(_ context.Context, o platforms.Origin) (platforms.Traits, error) {
	switch o.Kind {
	case "disk":
		return platforms.Traits{Arch: "arm64", Boot: "uefi"}, nil
	case "copy":
		return platforms.Traits{Boot: "bios"}, nil
	}
	return platforms.Traits{}, nil
}

// A cloud keeps them itself.
type cloud struct {
	platforms.Driver
	kept  map[string]platforms.Layer
	asked int
}

func (c *cloud) FindLayers(_ context.Context, keys []string) (map[string]platforms.Layer, error) {
	c.asked++
	found := map[string]platforms.Layer{}
	for _, k := range keys {
		if l, ok := c.kept[k]; ok {
			found[k] = l
		}
	}
	return found, nil
}

var here, there = &plan.Platform{Name: "here"}, &plan.Platform{Name: "there"}

func open(t *testing.T) (*Source, *cloud) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &cloud{kept: map[string]platforms.Layer{}}
	return &Source{Store: s, Drivers: func(p *plan.Platform) (platforms.Driver, error) {
		if p == there {
			return c, nil
		}
		return local{}, nil
	}}, c
}

func spec(p *plan.Platform, name string, parent plan.Key) Spec {
	l := Spec{Kind: "shell", Name: name, Platform: p, Parent: parent, Preimage: plan.Preimage{{Name: "name", Value: name}}}
	l.Key = l.Preimage.Key()
	return l
}

// filled is what fills a layer.
func filled(made platforms.Made) func(dir string) (platforms.Made, error) {
	return func(dir string) (platforms.Made, error) {
		if dir == "" {
			return made, nil
		}
		return made, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600)
	}
}

// TestMake makes a chain on both kinds of platforms and finds it again.
func TestMake(t *testing.T) {
	traits := platforms.Traits{Arch: "arm64", Boot: "uefi"}
	for _, p := range []*plan.Platform{here, there} {
		t.Run(p.Name, func(t *testing.T) {
			s, c := open(t)
			first := spec(p, "first", plan.Key{})
			step := spec(p, "step", first.Key)
			for _, l := range []Spec{first, step} {
				got, made, err := s.Make(t.Context(), l, nil, filled(platforms.Made{Ref: "ref of " + l.Name, Traits: traits}))
				if err != nil || !made || got.Key != l.Key.String() || got.Ref != "ref of "+l.Name || got.Traits != traits {
					t.Fatalf("%s: %+v, %t, %v", l.Name, got, made, err)
				}
				if remote := p == there && l.Name == "step"; got.Remote() != remote {
					t.Errorf("%s: %+v: remote %t, want %t", l.Name, got, got.Remote(), remote)
				}
				if got.Remote() {
					c.kept[got.Key] = *got
				}
			}
			found, err := s.Find(t.Context(), p, []Spec{first, step, spec(p, "other", first.Key)})
			if err != nil || len(found) != 2 || found[first.Key].Traits != traits || found[step.Key].Traits != traits || c.asked > 1 {
				t.Errorf("found %+v, %v; the platform was asked %d times", found, err, c.asked)
			}
			for _, l := range found {
				if whole, err := s.Check(t.Context(), l); err != nil || whole != l {
					t.Errorf("checked %+v: %+v, %v", l, whole, err)
				}
			}
			want := 2
			if p == there {
				want = 1 // which holds all
			}
			chain, err := s.Chain(t.Context(), p, step.Key)
			if err != nil || len(chain) != want || chain[len(chain)-1] != found[step.Key] {
				t.Errorf("the chain is %+v, %v", chain, err)
			}
			if _, err := s.Chain(t.Context(), p, spec(p, "other", first.Key).Key); !errors.Is(err, store.ErrMissing) {
				t.Errorf("a layer that is not there: %v", err)
			}
		})
	}
}

// An importer keeps the first layers of chains that begin with an iso as well.
type importer struct{ *cloud }

func (importer) KeepsOrigin(kind string) bool { return kind == "iso" }

func (importer) ImportRemote(context.Context, platforms.Origin, platforms.State, platforms.Logger) (platforms.Made, error) {
	return platforms.Made{}, errors.New("the one who fills calls it")
}

// TestFirstRemote has a platform keep some first layers: they are not in the store, are
// found by their keys, and are missing when the platform has lost them.
func TestFirstRemote(t *testing.T) {
	s, c := open(t)
	s.Drivers = func(*plan.Platform) (platforms.Driver, error) { return importer{c}, nil }
	for kind, remote := range map[string]bool{"iso": true, "template": false} {
		l := spec(there, kind, plan.Key{})
		l.Origin = kind
		got, made, err := s.Make(t.Context(), l, nil, filled(platforms.Made{Ref: kind}))
		if err != nil || !made || got.Remote() != remote {
			t.Fatalf("%s: %+v, %t, %v", kind, got, made, err)
		}
		if _, err := s.Store.Peek(l.Key); errors.Is(err, store.ErrMissing) != remote {
			t.Errorf("%s: in the store: %v", kind, err)
		}
		if remote {
			c.kept[got.Key] = *got
		}
		if found, err := s.Find(t.Context(), there, []Spec{l}); err != nil || found[l.Key].Ref != kind {
			t.Errorf("%s: found %v, %v", kind, found, err)
		}
		if chain, err := s.Chain(t.Context(), there, l.Key); err != nil || len(chain) != 1 || chain[0].Remote() != remote {
			t.Errorf("%s: the chain is %v, %v", kind, chain, err)
		}
		if !remote {
			continue
		}
		delete(c.kept, got.Key)
		if found, err := s.Find(t.Context(), there, []Spec{l}); err != nil || len(found) != 0 {
			t.Errorf("%s, which is gone: found %v, %v", kind, found, err)
		}
	}
}

// TestDropped keeps nothing of a state that was not worth a layer.
func TestDropped(t *testing.T) {
	for _, p := range []*plan.Platform{here, there} {
		s, _ := open(t)
		l := spec(p, "step", plan.Key{1})
		got, made, err := s.Make(t.Context(), l, nil, filled(platforms.Made{Dropped: true}))
		if got != nil || !made || err != nil {
			t.Errorf("%s: %+v, %t, %v", p.Name, got, made, err)
		}
		if found, err := s.Find(t.Context(), p, []Spec{l}); err != nil || len(found) != 0 {
			t.Errorf("%s: found %v, %v", p.Name, found, err)
		}
	}
}

// TestMadeMeanwhile waits for another build that makes a layer, and takes that one.
func TestMadeMeanwhile(t *testing.T) {
	for _, p := range []*plan.Platform{here, there} {
		t.Run(p.Name, func(t *testing.T) {
			s, c := open(t)
			l := spec(p, "step", plan.Key{1})
			begun, waits := make(chan struct{}), make(chan struct{})
			first := make(chan error)
			go func() {
				got, _, err := s.Make(t.Context(), l, nil, func(dir string) (platforms.Made, error) {
					close(begun)
					<-waits
					c.kept[l.Key.String()] = platforms.Layer{Key: l.Key.String(), Ref: "first"}
					return filled(platforms.Made{Ref: "first"})(dir)
				})
				if err == nil && got.Ref != "first" {
					err = errors.New("made " + got.Ref)
				}
				first <- err
			}()
			<-begun
			got, made, err := s.Make(t.Context(), l, func() { close(waits) }, func(string) (platforms.Made, error) {
				return platforms.Made{}, errors.New("made twice")
			})
			if err != nil || made || got.Ref != "first" {
				t.Errorf("%+v, %t, %v", got, made, err)
			}
			if err := <-first; err != nil {
				t.Error(err)
			}
		})
	}
}

type source struct {
	Of string `key:"of"`
}

func (*source) Kind() string               { return "source" }
func (o *source) Origin() platforms.Origin { return platforms.Origin{Kind: o.Of} }

type step struct{}

func (*step) Kind() string { return "step" }

// TestDescribe finds out what layers are from their origins.
func TestDescribe(t *testing.T) {
	s, _ := open(t)
	from := func(of string, deps ...*plan.Node) *plan.Node {
		return &plan.Node{Op: &source{Of: of}, Platform: here, Deps: deps}
	}
	after := func(n *plan.Node) *plan.Node { return &plan.Node{Op: &step{}, Platform: here, Deps: []*plan.Node{n}} }
	for what, c := range map[string]struct {
		n    *plan.Node
		want platforms.Traits
	}{
		"a disk":              {after(after(from("disk"))), platforms.Traits{Arch: "arm64", Boot: "uefi"}},
		"a copy of its files": {from("copy", after(from("disk"))), platforms.Traits{Arch: "arm64", Boot: "bios"}},
		"a tree of its files": {after(from("tree", from("disk"))), platforms.Traits{Arch: "arm64"}},
		"nobody knows":        {from("tree"), platforms.Traits{}},
	} {
		if got, err := s.Describe(t.Context(), c.n); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", what, got, err, c.want)
		}
	}
}
