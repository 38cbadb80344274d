package main

import (
	"context"
	"os"
)

// measureCold compares a first build, all packages fetched and nothing in the
// cache, with debos, which has no cache: once as bake builds by default, and
// once with what it leaves out by default and debos does not.
func measureCold(ctx context.Context, b *bench) ([]row, error) {
	g, err := b.goldenImage(ctx)
	if err != nil {
		return nil, err
	}
	full, err := b.coldBuild(ctx, "full", "-p", "full=true")
	if err != nil {
		return nil, err
	}
	if !b.keep {
		if err := os.RemoveAll(full.store); err != nil {
			return nil, err
		}
	}
	debos, err := b.peerRun(ctx, "debos")
	b.note("bake leaves documentation, and drivers of physical machines in the initramfs, out by default; the full image has them, as that of debos does")
	b.note("bake takes security updates and writes a compressed qcow2 for BIOS and UEFI; debos takes none and writes a plain one for BIOS")
	part := func(name string, s float64) row { return row{Name: name, Got: s, Unit: "s"} }
	cpu := func(g *goldenBuild) row {
		return row{Name: "  CPU time", Got: seconds(g.cold.cpu), Unit: "s", Than: "debos", Base: debos.CPU}.finish()
	}
	return []row{
		row{Name: "cold build", Got: seconds(g.cold.wall), Unit: "s", Limit: 0.8, Than: "debos", Base: debos.Seconds}.finish(),
		part("  of which base", seconds(g.split.base)),
		part("  of which steps", seconds(g.split.steps)),
		part("  of which export", seconds(g.split.export)),
		cpu(g),
		{Name: "  peak memory, largest process", Got: mib(g.cold.peak), Unit: "MiB"},
		row{Name: "cold build, full image", Got: seconds(full.cold.wall), Unit: "s", Limit: 0.8, Than: "debos", Base: debos.Seconds}.finish(),
		cpu(full),
	}, err
}
