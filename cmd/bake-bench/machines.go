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
	took, err := stepTimes(ctx, p, "commits.star")
	if err != nil {
		return row{}, err
	}
	all := took("nothing ")[1:] // the first one waits for the machine
	return row{Name: "machine, an empty step with its commit", Got: medianOf(all), Unit: "s", Runs: len(all), Limit: 1}.finish(), nil
}

// stepTimes builds a definition and returns what gives the seconds that each
// step took whose name begins with a prefix, in the order of their ends.
func stepTimes(ctx context.Context, p project, definition string) (func(prefix string) []float64, error) {
	log := p.store + ".steps.json"
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := p.command("build", definition, "--progress=json")
	c.stdout = f
	if _, err := c.run(ctx); err != nil {
		return nil, err
	}
	return readTimes(f)
}

// readTimes is stepTimes for the events of a build that is over.
func readTimes(f *os.File) (func(prefix string) []float64, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var done []ui.Line
	for dec := json.NewDecoder(f); ; {
		var l ui.Line
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Base(f.Name()), err)
		}
		if l.Type == event.Done && l.Node != nil {
			done = append(done, l)
		}
	}
	if len(done) == 0 {
		return nil, errors.New("no step told what it took")
	}
	return func(prefix string) []float64 {
		var took []float64
		for _, l := range done {
			if strings.HasPrefix(l.Node.Name, prefix) {
				took = append(took, l.Elapsed)
			}
		}
		return took
	}, nil
}

// medianOf returns the middle one of some numbers.
func medianOf(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
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
