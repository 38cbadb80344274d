package disk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"bake.build/bake/runtime/disk/gpt"
)

// noise writes a file whose bytes follow from its name and the seed.
func noise(t *testing.T, dir, name string, size int, seed byte) {
	t.Helper()
	b := make([]byte, size)
	key := [32]byte{seed}
	copy(key[1:], name)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	write(t, dir, name, string(b))
}

// merge returns the merged view of layers without what removed names.
func merge(t *testing.T, removed []string, layers ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, l := range layers {
		err := filepath.Walk(l, func(p string, info os.FileInfo, err error) error {
			if err != nil || info.IsDir() {
				return err
			}
			name, err := filepath.Rel(l, p)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			write(t, dir, name, string(data))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range removed {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	sameTimes(t, dir)
	return dir
}

// dirty counts the blocks of 512 KiB of the second disk that hold something: those
// that are not as in the first one, and all.
func dirty(t *testing.T, a, b string) (differ, used int) {
	t.Helper()
	const block = 512 << 10
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, block)
	for at := 0; at < len(y); at += block {
		if bytes.Equal(y[at:at+block], zeros) {
			continue
		}
		if used++; !bytes.Equal(x[at:at+block], y[at:at+block]) {
			differ++
		}
	}
	return differ, used
}

// TestLayersKeepTheirPlaces changes, adds and removes files in a layer on top of
// another: the disk differs from that of the lower layer in few blocks, and two
// such layers from each other, too.
func TestLayersKeepTheirPlaces(t *testing.T) {
	needTools(t, BootNone)
	base := fakeTree(t, false)
	for i := range 400 {
		noise(t, base, fmt.Sprintf("usr/lib/d%02d/f%03d", i%40, i), 1000*i+1, 0)
	}
	sameTimes(t, base)
	removed := []string{"usr/lib/d03/f003", "usr/lib/d39/f399"}
	var layers, trees []string
	for seed := range byte(2) {
		l := t.TempDir()
		noise(t, l, "etc/added-early", 9000, seed)
		noise(t, l, "usr/lib/d00/f040", 300_000, seed) // it had 40,001 bytes
		noise(t, l, "usr/lib/new/deep/file", 5000+20_000*int(seed), seed)
		sameTimes(t, l)
		layers, trees = append(layers, l), append(trees, merge(t, removed, base, l))
	}
	make := func(tree string, layers ...string) string {
		path, err := makeDisk(t, tree, Options{Size: 512 << 20, Boot: BootNone, Seed: [32]byte{1}, Layers: layers})
		if err != nil {
			t.Fatal(err)
		}
		spec, _, _ := rootOf(t, path)
		tool(t, "e2fsck", "-fn", spec)
		return path
	}
	parent := make(merge(t, nil, base), base)
	one, two := make(trees[0], base, layers[0]), make(trees[1], base, layers[1])
	for name, disks := range map[string][2]string{"a layer more": {parent, one}, "another last layer": {one, two}} {
		differ, used := dirty(t, disks[0], disks[1])
		t.Logf("%s: %d of %d blocks differ", name, differ, used)
		if differ > used/8 {
			t.Errorf("%s: %d of %d blocks differ", name, differ, used)
		}
	}
	// Many directories that go leave the rest where it is.
	removed = nil
	for i := range 30 {
		for j := i; j < 400; j += 40 {
			removed = append(removed, fmt.Sprintf("usr/lib/d%02d/f%03d", i, j))
		}
	}
	gone := merge(t, removed, base)
	for i := range 30 {
		if err := os.RemoveAll(filepath.Join(gone, fmt.Sprintf("usr/lib/d%02d", i))); err != nil {
			t.Fatal(err)
		}
	}
	sameTimes(t, gone)
	differ, used := dirty(t, parent, make(gone, base, t.TempDir()))
	if t.Logf("directories removed: %d of %d blocks differ", differ, used); differ > 8 {
		t.Errorf("directories removed: %d of %d blocks differ", differ, used)
	}
	// Nor does what tells the disk of one export from that of another.
	other, err := makeDisk(t, merge(t, nil, base), Options{Size: 512 << 20, Boot: BootNone, Seed: [32]byte{1}, ID: [32]byte{2}, Layers: []string{base}})
	if err != nil {
		t.Fatal(err)
	}
	spec, _, _ := rootOf(t, other)
	tool(t, "e2fsck", "-fn", spec)
	if differ, used := dirty(t, parent, other); differ > 8 || differ == 0 {
		t.Errorf("another identifier: %d of %d blocks differ", differ, used)
	}
	// The same without the layers, so that the comparison means something.
	if differ, used := dirty(t, make(merge(t, nil, base)), make(trees[0])); differ < used/2 {
		t.Errorf("without layers only %d of %d blocks differ", differ, used)
	}
	// Where there is no room for what is left out, it is taken.
	full, err := makeDisk(t, trees[0], Options{Size: 96 << 20, Boot: BootNone, Layers: []string{base, layers[0]}})
	if err != nil {
		t.Fatal(err)
	}
	spec, root, _ := rootOf(t, full)
	tool(t, "e2fsck", "-fn", spec)
	if size := int64(root.Last-root.First+1) * gpt.SectorSize; size > 96<<20 {
		t.Errorf("the root file system has %d bytes", size)
	}
}
