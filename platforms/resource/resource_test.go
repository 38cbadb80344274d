package resource_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
)

// A cloud is what there is, and a ledger in memory.
type cloud struct {
	there   map[string]bool
	unseen  int // how often what is there is not seen yet
	records []string
	looks   int
	failing error
}

func (c *cloud) Build() string   { return "build" }
func (c *cloud) Project() string { return "" }

func (c *cloud) Begin(r platforms.Resource) (func() error, error) {
	if c.there[r.ID] {
		return nil, errors.New("it was made before it was recorded")
	}
	c.records = append(c.records, r.ID)
	return func() error {
		c.records = nil
		return nil
	}, nil
}

func (c *cloud) manager() *resource.Manager {
	return &resource.Manager{
		Platform: "toy", Ledger: c, Kinds: []resource.Kind{{Name: "disk", Remove: c.collect}},
		Pause: func() time.Duration { return 0 },
	}
}

func (c *cloud) collect(_ context.Context, r platforms.Resource) (platforms.Collected, error) {
	c.looks++
	if c.failing != nil {
		return platforms.Collected{}, c.failing
	}
	if c.unseen--; c.unseen >= 0 || !c.there[r.ID] {
		return platforms.Collected{}, nil
	}
	delete(c.there, r.ID)
	return platforms.Collected{Removed: true}, nil
}

// TestMake has requests that succeed, are refused, and lose their answers.
func TestMake(t *testing.T) {
	refused, lost := errors.New("refused"), errors.New("connection reset")
	for name, c := range map[string]struct {
		made      bool
		failure   error
		unseen    int
		collect   error
		interrupt bool
		want      string // "there records looks"
	}{
		"made":              {made: true, want: "1 1 0"},
		"refused":           {failure: refused, want: "0 0 0"},
		"lost, and made":    {made: true, failure: resource.Unclear(lost), want: "0 0 1"},
		"made, seen later":  {made: true, failure: resource.Unclear(lost), unseen: 3, want: "0 0 4"},
		"made, and unseen":  {made: true, failure: resource.Unclear(lost), unseen: 9, want: "1 1 4"},
		"lost, not made":    {failure: resource.Unclear(lost), want: "0 1 4"},
		"interrupted":       {made: true, failure: resource.Unclear(lost), unseen: 9, interrupt: true, want: "1 1 2"},
		"nobody can look":   {made: true, failure: resource.Unclear(lost), collect: errors.New("expired"), want: "1 1 1"},
		"wrapped, and lost": {made: true, failure: fmt.Errorf("make it: %w", resource.Unclear(lost)), want: "0 0 1"},
	} {
		t.Run(name, func(t *testing.T) {
			cl := &cloud{there: map[string]bool{}, unseen: c.unseen, failing: c.collect}
			m := cl.manager()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			id, record, err := resource.Make(ctx, m, "disk", "", "d", func(context.Context) (string, error) {
				cl.there["d"] = c.made
				if !c.made {
					delete(cl.there, "d")
				}
				if c.interrupt {
					cancel()
				}
				return "id-1", c.failure
			})
			if got := fmt.Sprint(len(cl.there), " ", len(cl.records), " ", cl.looks); got != c.want {
				t.Errorf("there, recorded and looked for: %s, want %s", got, c.want)
			}
			if !errors.Is(err, c.failure) || c.collect != nil && !errors.Is(err, c.collect) {
				t.Errorf("got %v", err)
			}
			if (record != nil) != (c.failure == nil) || (id == "id-1") != (c.failure == nil) {
				t.Errorf("made %q, with the record %v", id, record)
			}
		})
	}
}

// TestStack removes the last first, and all in spite of failures, whose records stay.
func TestStack(t *testing.T) {
	var order []string
	var s resource.Stack
	kept := errors.New("in use")
	cl := &cloud{there: map[string]bool{}}
	m := cl.manager()
	record, err := m.Begin(t.Context(), "disk", "", "b")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		r := record
		if name != "b" {
			r = nil
		}
		s.Push(r, func(context.Context) error {
			order = append(order, name)
			if name == "b" {
				return kept
			}
			return nil
		})
	}
	if err := s.Close(t.Context()); !errors.Is(err, kept) || fmt.Sprint(order) != "[c b a]" || len(cl.records) != 1 {
		t.Errorf("removed %v, recorded %v: %v", order, cl.records, err)
	}
	if err := s.Close(t.Context()); err != nil || len(order) != 3 {
		t.Errorf("removed twice: %v, %v", order, err)
	}
}
