package remote_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/remote"
)

// A toy keeps layers in memory: all that a platform has to write.
type toy struct {
	layers   []remote.Layer
	inUse    string
	fails    string
	requests int
}

func (p *toy) Find(_ context.Context, place string, keys []string) (list []remote.Layer, err error) {
	p.requests++
	for _, l := range p.layers {
		if l.Place == place && slices.Contains(keys, l.Key) {
			list = append(list, l)
		}
	}
	return list, nil
}

func (p *toy) Unused(context.Context, string, string) ([]remote.Layer, error) {
	return slices.Clone(p.layers), nil
}

func (p *toy) Delete(_ context.Context, l remote.Layer) error {
	switch l.Ref {
	case p.inUse:
		return fmt.Errorf("%s: %w", l.Ref, remote.ErrInUse)
	case p.fails:
		return errors.New("refused")
	}
	p.layers = slices.DeleteFunc(p.layers, func(o remote.Layer) bool { return o.Ref == l.Ref })
	return nil
}

func (p *toy) Touch(_ context.Context, l remote.Layer, at time.Time) error {
	for i := range p.layers {
		if p.layers[i].Ref == l.Ref {
			p.layers[i].Used = at
		}
	}
	return nil
}

func layer(key, ref string, made, used time.Time) remote.Layer {
	return remote.Layer{Layer: platforms.Layer{Key: key, Ref: ref}, Place: "here", Made: made, Used: used}
}

func day(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }

// TestFind takes the first of two layers of one key, and asks for no more keys at once
// than a request may name.
func TestFind(t *testing.T) {
	p := &toy{layers: []remote.Layer{layer("a", "late", day(2), day(2)), layer("a", "first", day(1), day(1)), layer("b", "b", day(1), day(1))}}
	home := "here"
	c := &remote.Cache{Layers: p, KeysAtOnce: 2, Home: func(context.Context) (string, error) {
		if home == "" {
			return "", errors.New("nowhere")
		}
		return home, nil
	}}
	found, err := c.FindLayers(t.Context(), []string{"a", "b", "c", "d", "e"})
	if err != nil || len(found) != 2 || found["a"].Ref != "first" || found["b"].Ref != "b" || p.requests != 3 {
		t.Errorf("found %v with %d requests: %v", found, p.requests, err)
	}
	home = "there"
	if found, err := c.FindLayers(t.Context(), []string{"a"}); err != nil || len(found) != 0 {
		t.Errorf("in another place: %v, %v", found, err)
	}
	home = ""
	if _, err := c.FindLayers(t.Context(), []string{"a"}); err == nil || err.Error() != "nowhere" {
		t.Errorf("where nobody knows the place: %v", err)
	}
	if found, err := c.FindLayers(t.Context(), nil); err != nil || len(found) != 0 {
		t.Errorf("no keys: %v, %v", found, err)
	}
}

// TestPrune removes by age and by last use, leaves what is in use, and tells what is gone
// beside a failure.
func TestPrune(t *testing.T) {
	all := []remote.Layer{layer("a", "a", day(1), day(9)), layer("b", "b", day(2), day(3)), layer("c", "c", day(3), time.Time{}), layer("d", "d", day(8), day(8))}
	for name, c := range map[string]struct {
		p            platforms.LayerPruning
		inUse, fails string
		want         string // gone
		left         int
	}{
		"old":       {platforms.LayerPruning{MadeBefore: day(3)}, "", "", "[a b]", 2},
		"unused":    {platforms.LayerPruning{UsedBefore: day(4)}, "", "", "[b c]", 2},
		"either":    {platforms.LayerPruning{MadeBefore: day(2), UsedBefore: day(4)}, "", "", "[a b c]", 1},
		"dry run":   {platforms.LayerPruning{MadeBefore: day(9), DryRun: true}, "", "", "[a b c d]", 4},
		"in use":    {platforms.LayerPruning{MadeBefore: day(9)}, "b", "", "[a c d]", 1},
		"a failure": {platforms.LayerPruning{MadeBefore: day(9)}, "", "a", "[b c d]", 1},
		"none":      {platforms.LayerPruning{}, "", "", "[]", 4},
	} {
		p := &toy{layers: slices.Clone(all), inUse: c.inUse, fails: c.fails}
		gone, err := (&remote.Cache{Layers: p}).Prune(t.Context(), "here", "", c.p)
		var refs []string
		for _, l := range gone {
			refs = append(refs, l.Ref)
		}
		if fmt.Sprint(refs) != c.want || len(p.layers) != c.left || (err != nil) != (c.fails != "") {
			t.Errorf("%s: gone %v, %d left: %v", name, refs, len(p.layers), err)
		}
	}
}

// TestWorth keeps what costs more than a layer does.
func TestWorth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &remote.Cache{FirstCost: time.Minute}
		begin := time.Now()
		time.Sleep(30 * time.Second)
		got := map[string]bool{
			"little work": c.Worth(remote.WhereWorth, false, begin), "needed": c.Worth(remote.WhereWorth, true, begin),
			"every step": c.Worth(remote.EveryStep, false, begin), "last": c.Worth(remote.WhereUsed, false, begin), "last, needed": c.Worth(remote.WhereUsed, true, begin),
		}
		c.Took(20 * time.Second)
		got["measured"] = c.Worth(remote.WhereWorth, false, begin)
		want := map[string]bool{"little work": false, "needed": true, "every step": true, "last": false, "last, needed": true, "measured": true}
		if !maps.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

// TestUse notes the use of a layer once a day, and which layers may be unseen.
func TestUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &toy{layers: []remote.Layer{layer("a", "a", day(1), time.Now())}}
		c := &remote.Cache{Layers: p}
		for _, hours := range []int{1, 12, 24} {
			before := p.layers[0].Used
			time.Sleep(time.Duration(hours) * time.Hour)
			if err := c.Use(t.Context(), p.layers[0]); err != nil {
				t.Fatal(err)
			}
			if noted := p.layers[0].Used.After(before); noted != (hours == 24) {
				t.Errorf("after %d hours more the use is noted: %v", hours, noted)
			}
		}
		c.Began("mine")
		if c.Unseen("mine", 20) != 20 || c.Unseen("theirs", 20) != 0 {
			t.Errorf("unseen %d and %d times", c.Unseen("mine", 20), c.Unseen("theirs", 20))
		}
	})
}
