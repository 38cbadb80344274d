package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// The content of the images whose builds are compared. The large one also has
// a disk four times as large.
const (
	smallContent = 128 << 20
	largeContent = 4 * smallContent
)

// memoryDefinition copies a file of noise into an image and writes that as a
// disk and as an archive.
const memoryDefinition = `
layer = copy(source(rootfs(), scratch = True), "content", "/content")
export(layer, "image", formats = ["qcow2", "tar"], size = "%dM", boot = "none")
`

// measureMemory compares the peak memory of a build with that of a build whose
// image is four times as large: as bake streams, the size should not matter.
func measureMemory(ctx context.Context, b *bench) ([]row, error) {
	b.logf("bake builds an image of %d MiB and one of %d MiB", smallContent>>20, largeContent>>20)
	small, err := memoryOf(ctx, b, "small", smallContent)
	if err != nil {
		return nil, err
	}
	large, err := memoryOf(ctx, b, "large", largeContent)
	if err != nil {
		return nil, err
	}
	compare := func(name string, got, than int64, limit float64) row {
		return row{Name: name, Got: mib(got), Unit: "MiB", Than: "small image", Base: mib(than), Limit: limit}.finish()
	}
	return []row{
		compare("memory with a large image, bake", large.own, small.own, 1.25),
		compare("  with the tools that it calls", large.peak, small.peak, 0),
	}, nil
}

// memoryOf builds an image with so many bytes of content.
func memoryOf(ctx context.Context, b *bench, name string, content int64) (usage, error) {
	dir, err := b.subdir("memory", name)
	if err != nil {
		return usage{}, err
	}
	definition := fmt.Sprintf(memoryDefinition, content*2>>20)
	if err := os.WriteFile(filepath.Join(dir, "images.star"), []byte(definition), 0o644); err != nil {
		return usage{}, err
	}
	if err := writeNoise(filepath.Join(dir, "content"), content); err != nil {
		return usage{}, err
	}
	p := project{bake: b.bake, dir: dir, store: dir + ".store"}
	c := p.command("build", "images.star", "--progress=plain", "--out", dir+".out")
	c.watch = true
	return c.run(ctx)
}
