package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// A bench is what the measurements of one run share.
type bench struct {
	dir       string // everything is made below it
	bake      string // absolute path
	skipPeers bool
	keep      bool
	notes     []string // shown below the table
	begin     time.Time

	golden *goldenBuild    // made by the first measurement that asks for it
	peers  map[string]peer // by name
	record *record         // of the peers' times
}

// newBench makes the working directory. The caller must call close.
func newBench(f flags) (*bench, error) {
	bake, err := filepath.Abs(f.bake)
	if err != nil {
		return nil, err
	}
	if _, err := exec.LookPath(bake); err != nil {
		return nil, fmt.Errorf("find bake: %w; make build makes it", err)
	}
	path, err := recordPath()
	if err != nil {
		return nil, err
	}
	rec, err := loadRecord(path)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(realDisk(), "bake-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{
		dir: dir, bake: bake, skipPeers: f.skipPeers, keep: f.keep,
		begin: time.Now(), record: rec,
	}
	b.peers = map[string]peer{"debos": &debos{b}, "packer": &packer{b}}
	b.logf("working in %s", dir)
	return b, nil
}

// realDisk returns where temporary files lie on a disk: /tmp is often memory.
func realDisk() string {
	if _, err := os.Stat("/var/tmp"); err == nil {
		return "/var/tmp"
	}
	return os.TempDir()
}

// close removes the working directory, after what a killed tool may have left
// mounted in it.
func (b *bench) close() error {
	if err := release(b.dir); err != nil {
		// Removing would reach into whatever is still mounted.
		return fmt.Errorf("clean up %s: %w", b.dir, err)
	}
	if b.keep {
		b.logf("kept %s", b.dir)
		return nil
	}
	return os.RemoveAll(b.dir)
}

// logf prints a line of progress.
func (b *bench) logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: %4.0f s  %s\n", time.Since(b.begin).Seconds(), fmt.Sprintf(format, args...))
}

// note adds a line below the table, once.
func (b *bench) note(text string) {
	if !slices.Contains(b.notes, text) {
		b.notes = append(b.notes, text)
	}
}

// path returns a path in the working directory.
func (b *bench) path(elem ...string) string {
	return filepath.Join(append([]string{b.dir}, elem...)...)
}

// subdir makes a directory in the working directory.
func (b *bench) subdir(elem ...string) (string, error) {
	dir := b.path(elem...)
	return dir, os.MkdirAll(dir, 0o755)
}

// A peer is another tool that builds the golden image.
type peer interface {
	// check returns an error that says what the host lacks to run the tool.
	check() error

	// build makes the golden image once, in the empty directory dir, and returns
	// how long the tool took, without what was prepared for it.
	build(ctx context.Context, dir string) (time.Duration, error)
}

// peerTime returns how long the named peer takes, in seconds: measured now,
// once in each run of the harness, or as recorded. It is 0, with a note, when
// peers are to be skipped and none was recorded.
func (b *bench) peerTime(ctx context.Context, name string) (float64, error) {
	if got, ok := b.record.now(name); ok {
		return got, nil
	}
	if b.skipPeers {
		got, when, ok := b.record.last(name)
		if !ok {
			b.note(fmt.Sprintf("no run of %s is recorded: run once without -skip-peers", name))
			return 0, nil
		}
		b.note(fmt.Sprintf("%s was not run now: its time is of %s", name, when.Format("2006-01-02 15:04")))
		return got, nil
	}
	p := b.peers[name]
	if err := p.check(); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	dir, err := b.subdir(name)
	if err != nil {
		return 0, err
	}
	took, err := p.build(ctx, dir)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("%s: %w", name, err), release(dir))
	}
	b.logf("%s took %.1f s", name, took.Seconds())
	if !b.keep {
		err = os.RemoveAll(dir)
	}
	return took.Seconds(), errors.Join(err, b.record.add(name, took))
}
