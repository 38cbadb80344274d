package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
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

	machines string          // the machine job's directory; "" until it is made
	golden   *goldenBuild    // made by the first measurement that asks for it
	peers    map[string]peer // by name
	record   *record         // of the peers' times
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
	b.peers = map[string]peer{"debos": &debos{b}, "packer": &packer{b}, "packer-vm": &packerVM{packer{b}}}
	b.logf("working in %s", dir)
	b.noteLoad()
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

// noteLoad says when the host is busy with other work: then single times tell
// little, and ratios of runs that are minutes apart not much more.
func (b *bench) noteLoad() {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return // another kind of host
	}
	minute, _, _ := strings.Cut(string(data), " ")
	if load, err := strconv.ParseFloat(minute, 64); err == nil && load > 0.5*float64(runtime.NumCPU()) {
		b.note(fmt.Sprintf("the host was busy already: its load was %s at the start, on %d CPUs", minute, runtime.NumCPU()))
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
	// what the tool's run cost, without what was prepared for it.
	build(ctx context.Context, dir string) (usage, error)
}

// peerRun returns what a build by the named peer costs: measured now, once in
// each run of the harness, or as recorded. It is zero, with a note, when peers
// are to be skipped and no run was recorded.
func (b *bench) peerRun(ctx context.Context, name string) (recorded, error) {
	if got, ok := b.record.now(name); ok {
		return got, nil
	}
	if b.skipPeers {
		got, ok := b.record.last(name)
		if !ok {
			b.note(fmt.Sprintf("no run of %s is recorded: run once without -skip-peers", name))
			return recorded{}, nil
		}
		b.note(fmt.Sprintf("%s was not run now: its time is of %s", name, got.When.Format("2006-01-02 15:04")))
		return got, nil
	}
	p := b.peers[name]
	if err := p.check(); err != nil {
		return recorded{}, fmt.Errorf("%s: %w", name, err)
	}
	dir, err := b.subdir(name)
	if err != nil {
		return recorded{}, err
	}
	u, err := p.build(ctx, dir)
	if err != nil {
		return recorded{}, errors.Join(fmt.Errorf("%s: %w", name, err), release(dir))
	}
	b.logf("%s took %.1f s", name, u.wall.Seconds())
	if !b.keep {
		err = os.RemoveAll(dir)
	}
	got, recordErr := b.record.add(name, u)
	return got, errors.Join(err, recordErr)
}
