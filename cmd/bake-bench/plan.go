package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// planNodes is the size of the generated plan.
const planNodes = 10_000

// planDefinition makes a plan of planNodes nodes: a hundred images that share
// their first steps, each with steps, files, a disk and an export of its own.
const planDefinition = `
def step(layer, image, i):
    if i % 3 == 0:
        return write(layer, "/etc/%d" % i, "image %d\n" % image)
    if i % 3 == 1:
        return copy(layer, "file", "/srv/%d-%d" % (image, i))
    return shell(layer, ["echo image %d" % image, "echo step %d" % i], env = {"STEP": str(i)})

base = source(rootfs(), scratch = True)
for i in range(99):
    base = step(base, -1, i)
for image in range(100):
    layer = base
    for i in range(97):
        layer = step(layer, image, i)
    export(layer, "image-%d" % image, formats = ["raw"], size = "1G", boot = "none")
`

// measurePlan lets bake evaluate and key a large plan.
func measurePlan(ctx context.Context, b *bench) ([]row, error) {
	dir, err := b.subdir("plan")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "images.star"), []byte(planDefinition), 0o644); err != nil {
		return nil, err
	}
	if err := writeNoise(filepath.Join(dir, "file"), 1<<16); err != nil {
		return nil, err
	}
	const n = 7
	b.logf("bake plans %d nodes, %d times", planNodes, n)
	var out bytes.Buffer
	c := project{bake: b.bake, dir: dir, store: b.path("plan.store")}.command("plan", "images.star")
	c.stdout = &out
	runs, err := repeat(ctx, n, c, func(int) error { out.Reset(); return nil })
	if err != nil {
		return nil, err
	}
	if want := fmt.Sprintf("%d to run", planNodes); !strings.Contains(out.String(), want) {
		return nil, fmt.Errorf("the generated plan has another size: %q is not in the output, which ends with %q", want, out.String()[max(0, out.Len()-60):])
	}
	return []row{
		row{Name: "plan of 10,000 nodes", Got: medianSeconds(runs), Unit: "s", Runs: n, Limit: 1}.finish(),
		row{Name: "  peak memory, largest of all runs", Got: largestPeak(runs), Unit: "MiB", Limit: 200}.finish(),
	}, nil
}
