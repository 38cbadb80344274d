package fake_test

import (
	"context"
	"errors"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/fake"
	"bake.build/bake/platforms/platformtest"
)

func first(t *testing.T) platforms.Layer {
	t.Helper()
	l, err := fake.Layer("first", t.TempDir(), fake.Base())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestConformance(t *testing.T) {
	platformtest.Run(t, platformtest.Harness{
		Driver:      &fake.Driver{},
		First:       first(t),
		Dir:         func(t *testing.T) string { return t.TempDir() },
		CopiedTree:  true,
		NoIsolation: true,
	})
}

// TestConformanceOfVM has what virtual machines can do besides.
func TestConformanceOfVM(t *testing.T) {
	platformtest.Run(t, platformtest.Harness{
		Driver:      &fake.VM{},
		First:       first(t),
		Dir:         func(t *testing.T) string { return t.TempDir() },
		CopiedTree:  true,
		NoIsolation: true,
	})
}

func TestCountsAndFaults(t *testing.T) {
	broken := errors.New("broken")
	d := &fake.Driver{Fault: func(_ context.Context, c fake.Call, n int, what string) error {
		if c == fake.Run && n == 2 && what == "echo two" {
			return broken
		}
		return nil
	}}
	m, err := d.Boot(t.Context(), []platforms.Layer{first(t)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, word := range []string{"one", "two", "three"} {
		err := m.Run(t.Context(), platforms.Cmd{Args: []string{"echo", word}})
		if want := i == 1; errors.Is(err, broken) != want {
			t.Errorf("%s: %v", word, err)
		}
	}
	if now, most := d.Open(); now != 1 || most != 1 {
		t.Errorf("%d machines open, %d at most", now, most)
	}
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Error(err)
	}
	if now, _ := d.Open(); now != 0 || d.Count(fake.Run) != 3 || d.Count(fake.Close) != 1 {
		t.Errorf("%d open, %d runs, %d closed", now, d.Count(fake.Run), d.Count(fake.Close))
	}
}

// TestSource makes a first layer by the way that definitions take.
func TestSource(t *testing.T) {
	spec := fake.Spec("toy", &fake.Driver{})
	d, err := spec.New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	o, err := d.Pin(t.Context(), platforms.Origin{Kind: "text", Options: []byte(`{"text":"hello"}`)})
	if err != nil || o.Pin == nil {
		t.Fatal(err)
	}
	l := platforms.Layer{Key: "1", Dir: t.TempDir()}
	made, err := d.Import(t.Context(), o, l.Dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Ref = made.Ref
	m, err := d.Boot(t.Context(), []platforms.Layer{l}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-e", "-c", "cat /origin && test -d /tmp\nfalse; echo not reached"}}); err == nil {
		t.Error("sh -e goes on after a failure")
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
