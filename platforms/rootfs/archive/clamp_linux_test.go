package archive_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"bake.build/bake/platforms/rootfs/archive"
)

// TestClampTimes: what was made since a moment gets the time given; a time that
// was set on purpose stays.
func TestClampTimes(t *testing.T) {
	dir := t.TempDir()
	epoch := time.Unix(1_600_000_000, 0)
	past, future := time.Unix(1_000_000_000, 5), time.Now().Add(time.Hour).Truncate(time.Second)
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"old", "future", "made"} {
		if err := os.WriteFile(at(name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(at("before"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Minute).Truncate(time.Second)
	for name, when := range map[string]time.Time{"old": past, "future": future, "before": before} {
		if err := os.Chtimes(at(name), when, when); err != nil {
			t.Fatal(err)
		}
	}
	since, err := archive.ChangeTime(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, make := range []func() error{
		func() error { return os.Mkdir(at("dir"), 0o755) },
		func() error { return os.WriteFile(at("dir/file"), nil, 0o644) },
		func() error { return os.Symlink("nowhere", at("link")) },
		func() error { return os.Link(at("dir/file"), at("hard")) },
		func() error { return os.WriteFile(at("whole"), nil, 0o644) },
		func() error { return os.Chtimes(at("whole"), since, since.Truncate(time.Second)) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
	}
	newest, err := archive.ClampTimes(dir, since, epoch)
	if err != nil || !newest.Equal(future) {
		t.Errorf("newest %v, %v, want %v", newest, err, future)
	}
	for name, want := range map[string]time.Time{
		".": epoch, "dir": epoch, "dir/file": epoch, "hard": epoch, "whole": epoch, "link": epoch, "old": past, "future": future, "before": before,
	} {
		info, err := os.Lstat(at(name))
		if err != nil || !info.ModTime().Equal(want) {
			t.Errorf("%s: %v, %v, want %v", name, info.ModTime(), err, want)
		}
	}
}
