package main

import "context"

// measureCold compares a first build, all packages fetched and nothing in the
// cache, with debos, which has no cache.
func measureCold(ctx context.Context, b *bench) ([]row, error) {
	g, err := b.goldenImage(ctx)
	if err != nil {
		return nil, err
	}
	part := func(name string, s float64) row { return row{Name: "  " + name, Got: s, Unit: "s"} }
	rows := []row{
		{Name: "cold build", Got: seconds(g.cold.wall), Unit: "s", Limit: 0.8, Than: "debos"},
		part("of which base", seconds(g.split.base)),
		part("of which steps", seconds(g.split.steps)),
		part("of which export", seconds(g.split.export)),
		{Name: "  peak memory, largest process", Got: mib(g.cold.peak), Unit: "MiB"},
	}
	rows[0].Base, err = b.peerTime(ctx, "debos")
	rows[0] = rows[0].finish()
	return rows, err
}
