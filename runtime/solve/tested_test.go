package solve

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// An artifact is settled once, when its last test has ended, and before what is
// made of it begins.
func TestArtifactsAreSettled(t *testing.T) {
	w := newWorld(t)
	w.exports.dir = t.TempDir()
	build := func(first, second error) error {
		t.Helper()
		w.define()
		w.exports.settled = nil
		for _, how := range []string{"passed", "failed"} { // back to where it is made
			if err := os.Rename(filepath.Join(w.exports.dir, "disk."+how), filepath.Join(w.exports.dir, "disk")); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		disk := w.export(w.step(w.source("base"), "a"), "disk")
		one := w.check(disk, "one", func(context.Context, string) error { return first })
		two := w.check(disk, "two", func(context.Context, string) error {
			if len(w.exports.settled) > 0 {
				t.Error("settled before its last test")
			}
			return second
		})
		next := w.source("next", disk)
		_, err := w.run(context.Background(), disk, one, two, next)
		return err
	}
	settled := func(want ...string) {
		t.Helper()
		if !slices.Equal(w.exports.settled, want) {
			t.Errorf("settled %q, want %q", w.exports.settled, want)
		}
	}
	w.config.Jobs = 1
	w.config.KeepGoing = true
	if err := build(nil, errors.New("no answer")); err == nil {
		t.Error("no error")
	}
	settled("disk failed")
	w.ran("one=1 two=1 disk=1 next=0")
	if err := build(nil, nil); err != nil {
		t.Error(err)
	}
	settled("disk passed") // one has passed before
	w.ran("one=0 two=1 disk=0")
	if err := build(nil, nil); err != nil {
		t.Error(err)
	}
	settled()
}

// What was not tested to its end is neither good nor bad.
func TestArtifactsOfStoppedBuildsAreNotSettled(t *testing.T) {
	w := newWorld(t)
	w.exports.dir = t.TempDir()
	ctx, stop := context.WithCancel(context.Background())
	disk := w.export(w.step(w.source("base"), "a"), "disk")
	one := w.check(disk, "one", func(ctx context.Context, _ string) error {
		stop()
		<-ctx.Done()
		return ctx.Err()
	})
	if _, err := w.run(ctx, disk, one); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if len(w.exports.settled) > 0 {
		t.Errorf("settled %q", w.exports.settled)
	}
}
