package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// measureRebuild changes the golden image's last step, again and again, and
// compares what bake takes to write the image again with Packer, which runs
// every step again.
func measureRebuild(ctx context.Context, b *bench) ([]row, error) {
	g, err := b.goldenImage(ctx)
	if err != nil {
		return nil, err
	}
	const n = 5
	b.logf("bake builds again after a change of the last step, %d times", n)
	c := g.command("build", "images.star", "--progress=plain", "--out", g.out())
	runs, err := repeat(ctx, n, c, func(run int) error {
		return appendTo(filepath.Join(g.dir, "harden.sh"), fmt.Sprintf("echo change %d\n", run))
	})
	if err != nil {
		return nil, err
	}
	r := row{Name: "last step changed", Got: medianSeconds(runs), Unit: "s", Runs: n, Limit: 1.0 / 20, Than: "Packer"}
	b.notePacker()
	packer, err := b.peerRun(ctx, "packer")
	r.Base = packer.Seconds
	return []row{r.finish()}, err
}
