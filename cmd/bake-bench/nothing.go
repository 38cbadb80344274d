package main

import (
	"context"
	"path/filepath"
)

// measureNothing builds the golden image when nothing has changed. It compares
// that with Packer, and with the least that any tool must do which looks at its
// inputs: read and hash them, and be started.
func measureNothing(ctx context.Context, b *bench) ([]row, error) {
	g, err := b.goldenImage(ctx)
	if err != nil {
		return nil, err
	}
	files, err := filesBelow(
		filepath.Join(g.dir, "images.star"),
		filepath.Join(g.dir, "golden.star"),
		filepath.Join(g.dir, "harden.sh"),
		filepath.Join(g.dir, "tree"),
	)
	if err != nil {
		return nil, err
	}
	const n = 11
	b.logf("bake builds with nothing changed, %d times", n)
	children := []*child{
		g.command("build", "images.star", "--progress=plain", "--out", g.out()),
		{args: append([]string{"sha256sum"}, files...)},
		g.command("version"),
	}
	var times []float64
	for _, c := range children {
		runs, err := repeat(ctx, n, c, nil)
		if err != nil {
			return nil, err
		}
		times = append(times, medianSeconds(runs))
	}
	idle, hash, start := times[0], times[1], times[2]
	rows := []row{
		{Name: "nothing changed", Got: idle, Unit: "s", Runs: n, Limit: 1.0 / 300, Than: "Packer"},
		row{Name: "nothing changed", Got: idle, Unit: "s", Runs: n, Limit: 3, Than: "sha256sum + start", Base: hash + start}.finish(),
		{Name: "  sha256sum of the inputs", Got: hash, Unit: "s", Runs: n},
		{Name: "  process start (bake version)", Got: start, Unit: "s", Runs: n},
	}
	b.notePacker()
	packer, err := b.peerRun(ctx, "packer")
	rows[0].Base = packer.Seconds
	rows[0] = rows[0].finish()
	return rows, err
}
