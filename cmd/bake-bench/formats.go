package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// diskFormats are the formats that are written together. None of them is a
// plain copy of the disk, and none is held up by writing all of its zeros, as a
// fixed vhd is: next to such a one the others would seem to cost nothing.
func diskFormats() []string { return []string{"qcow2", "vmdk", "vdi", "vhd-dynamic"} }

// together is the artifact that has all of diskFormats.
const together = "together"

// formatsDefinition exports the golden image in each format alone, as an
// artifact that bears the format's name, and in all of them.
func formatsDefinition() string {
	var s strings.Builder
	s.WriteString("load(\"golden.star\", \"base\", \"golden\")\n\nimage = golden(base())\n")
	for _, f := range diskFormats() {
		fmt.Fprintf(&s, "export(image, %q, formats = [%q], size = \"2G\")\n", f, f)
	}
	fmt.Fprintf(&s, "export(image, %q, formats = [\"%s\"], size = \"2G\")\n", together, strings.Join(diskFormats(), `", "`))
	return s.String()
}

// measureFormats exports one layer in each of four formats and in all of them
// at once, the layers being in the store.
func measureFormats(ctx context.Context, b *bench) ([]row, error) {
	g, err := b.goldenImage(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(g.dir, "formats.star"), []byte(formatsDefinition()), 0o644); err != nil {
		return nil, err
	}
	const n = 3
	out := b.path("formats.out")
	times := map[string]float64{}
	slowest := diskFormats()[0]
	for _, name := range append(diskFormats(), together) {
		b.logf("bake exports %s, %d times", name, n)
		c := g.command("build", "formats.star", name, "--progress=plain", "--out", out)
		runs, err := repeat(ctx, n, c, func(int) error { return os.RemoveAll(out) })
		if err != nil {
			return nil, err
		}
		times[name] = medianSeconds(runs)
		if name != together && times[name] > times[slowest] {
			slowest = name
		}
	}
	rows := []row{row{
		Name: "four formats of one layer", Got: times[together], Unit: "s", Runs: n,
		Than: slowest + " alone", Base: times[slowest], Limit: 1.6,
	}.finish()}
	for _, f := range diskFormats() {
		rows = append(rows, row{Name: "  " + f + " alone", Got: times[f], Unit: "s", Runs: n})
	}
	return rows, nil
}
