package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/ui"
)

// A project is a directory with definitions, and the store that bake is to use
// for them.
type project struct {
	bake  string // path of the program
	dir   string
	store string
}

// command returns bake with args, run in the project's directory. Its log is
// kept beside the directory, so that it is no part of it.
func (p project) command(args ...string) *child {
	return &child{
		args: append([]string{p.bake}, args...),
		dir:  p.dir,
		env:  []string{"BAKE_CACHE_DIR=" + p.store},
		log:  p.dir + ".log",
	}
}

// A split says where the time of a build went. What it leaves of the wall time
// was spent on evaluating, hashing and pinning.
type split struct {
	base, steps, export time.Duration
}

// splitBuild runs bake build with args, and returns what it cost and where its
// time went.
func (p project) splitBuild(ctx context.Context, args ...string) (usage, split, error) {
	path := p.dir + ".json"
	f, err := os.Create(path)
	if err != nil {
		return usage{}, split{}, err
	}
	defer f.Close()
	c := p.command(append([]string{"build", "--progress=json"}, args...)...)
	c.stdout = f
	u, err := c.run(ctx)
	if err != nil {
		return u, split{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return u, split{}, err
	}
	s, err := readSplit(f)
	if err != nil {
		err = fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	return u, s, err
}

// readSplit adds up the times of the nodes that ran, from bake's JSON display.
func readSplit(r io.Reader) (split, error) {
	var s split
	dec := json.NewDecoder(r)
	for {
		var l ui.Line
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return s, nil
		} else if err != nil {
			return s, err
		}
		if l.Type != event.Done || l.Node == nil {
			continue
		}
		took := time.Duration(l.Elapsed * float64(time.Second))
		switch l.Node.Kind {
		case "source":
			s.base += took
		case "export":
			s.export += took
		default:
			s.steps += took
		}
	}
}

// A goldenBuild is the golden image's project after its first build.
type goldenBuild struct {
	project
	cold  usage
	split split
}

// out is where the golden image is written, as bake's --out.
func (g *goldenBuild) out() string { return g.dir + ".out" }

// goldenImage builds the golden image with bake, from nothing, when it is asked
// for the first time.
func (b *bench) goldenImage(ctx context.Context) (*goldenBuild, error) {
	if b.golden != nil {
		return b.golden, nil
	}
	g, err := b.coldBuild(ctx, "golden")
	if err != nil {
		return nil, err
	}
	b.golden = g
	return g, nil
}

// coldBuild builds the golden image with bake in a new project with a store of
// its own, both of which bear name. args are added to bake's.
func (b *bench) coldBuild(ctx context.Context, name string, args ...string) (*goldenBuild, error) {
	b.logf("bake builds the golden image from nothing %s", strings.Join(args, " "))
	dir, err := b.subdir(name)
	if err != nil {
		return nil, err
	}
	if err := stageJob(dir); err != nil {
		return nil, err
	}
	g := &goldenBuild{project: project{bake: b.bake, dir: dir, store: dir + ".store"}}
	g.cold, g.split, err = g.splitBuild(ctx, append([]string{"images.star", "--out", g.out()}, args...)...)
	if err != nil {
		return nil, err
	}
	b.logf("bake took %.1f s", g.cold.wall.Seconds())
	return g, nil
}
