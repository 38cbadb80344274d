package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/ui"
)

// packerVM is Packer with its qemu builder, on the machine job.
type packerVM struct{ packer }

func (p *packerVM) build(ctx context.Context, dir string) (usage, error) {
	from, err := p.b.machineJob(ctx)
	if err != nil {
		return usage{}, err
	}
	p.b.logf("packer builds the machine job: some two minutes under software emulation")
	return p.run(ctx, from, dir, "vm-packer.json", filepath.Join("packed", "vm.qcow2"))
}

// machineJob returns the directory of the machine job, with the disk that both
// tools start from and the key that it knows. It is made once.
func (b *bench) machineJob(ctx context.Context) (dir string, err error) {
	if b.machines != "" {
		return b.machines, nil
	}
	if dir, err = b.subdir("machines"); err != nil {
		return "", err
	}
	if err := stageJob(dir); err != nil {
		return "", err
	}
	if err := (&packer{b}).prepare(ctx, dir); err != nil {
		return "", fmt.Errorf("prepare the disk to start from: %w", err)
	}
	b.machines = dir
	return dir, nil
}

// measureMachines compares builds in a virtual machine with Packer's, from the
// same disk, with the same scripts and the same accelerator.
func measureMachines(ctx context.Context, b *bench) ([]row, error) {
	dir, err := b.machineJob(ctx)
	if err != nil {
		return nil, err
	}
	b.note("machines run under software emulation (TCG) here, for bake as for Packer, each with 2 virtual CPUs")
	p := project{bake: b.bake, dir: dir, store: dir + ".store"}
	build := func(what string, args ...string) (float64, error) {
		b.logf("bake builds the machine job: %s", what)
		u, err := p.command(append([]string{"build", "vm.star", "--progress=plain", "--out", dir + ".out"}, args...)...).run(ctx)
		return seconds(u.wall), err
	}
	change := func(n int) error {
		return appendTo(filepath.Join(dir, "harden.sh"), fmt.Sprintf("# change %d\n", n))
	}
	cold, err := build("from nothing")
	if err != nil {
		return nil, err
	}
	nothing, err := repeat(ctx, 5, p.command("build", "vm.star", "--progress=plain", "--out", dir+".out"), nil)
	if err != nil {
		return nil, err
	}
	if err := change(1); err != nil {
		return nil, err
	}
	resumed, err := build("last of five steps changed, from memory")
	if err != nil {
		return nil, err
	}
	if err := change(2); err != nil {
		return nil, err
	}
	booted, err := build("last of five steps changed, with a boot", "-p", "resume=boot")
	if err != nil {
		return nil, err
	}
	commit, err := b.measureCommit(ctx, p)
	if err != nil {
		return nil, err
	}
	than, err := b.peerRun(ctx, "packer-vm")
	against := func(name string, got, limit float64) row {
		return row{Name: name, Got: got, Unit: "s", Limit: limit, Than: "Packer", Base: than.Seconds}.finish()
	}
	still := against("machine, nothing changed", medianSeconds(nothing), 1.0/300)
	still.Runs = len(nothing)
	return []row{
		against("machine, cold build", cold, 0.9),
		against("machine, last of five steps changed, boot", booted, 0.35),
		against("machine, last of five steps changed, memory", resumed, 0.15),
		still,
		commit,
	}, err
}

// measureCommit returns what a step takes that does nothing: a command, and the
// commit of its layer with the machine's memory.
func (b *bench) measureCommit(ctx context.Context, p project) (row, error) {
	b.logf("bake commits layers of steps that do nothing")
	log := p.dir + ".commits.json"
	f, err := os.Create(log)
	if err != nil {
		return row{}, err
	}
	defer f.Close()
	c := p.command("build", "commits.star", "--progress=json")
	c.stdout = f
	if _, err := c.run(ctx); err != nil {
		return row{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return row{}, err
	}
	var took []float64
	dec := json.NewDecoder(f)
	for {
		var l ui.Line
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return row{}, fmt.Errorf("read %s: %w", filepath.Base(log), err)
		}
		// The first one waits for the machine.
		if l.Type == event.Done && l.Node != nil && strings.HasPrefix(l.Node.Name, "nothing ") && l.Node.Name != "nothing 1" {
			took = append(took, l.Elapsed)
		}
	}
	if len(took) == 0 {
		return row{}, errors.New("no step told what it took")
	}
	slices.Sort(took)
	return row{Name: "machine, an empty step with its commit", Got: took[len(took)/2], Unit: "s", Runs: len(took), Limit: 1}.finish(), nil
}

// measureTwo compares two images that are built at once with one of them.
func measureTwo(ctx context.Context, b *bench) ([]row, error) {
	dir, err := b.machineJob(ctx)
	if err != nil {
		return nil, err
	}
	var took []float64
	for _, targets := range [][]string{{"a"}, {"a", "b"}} {
		b.logf("bake builds %d images in machines with one virtual CPU each", len(targets))
		p := project{bake: b.bake, dir: dir, store: fmt.Sprintf("%s.store%d", dir, len(targets))}
		u, err := p.command(append([]string{"build", "two.star", "--progress=plain", "--out", p.store + ".out"}, targets...)...).run(ctx)
		if err != nil {
			return nil, err
		}
		took = append(took, seconds(u.wall))
	}
	return []row{row{Name: "two machines at once", Got: took[1], Unit: "s", Limit: 1.5, Than: "one", Base: took[0]}.finish()}, nil
}
