package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/all"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
)

// TestKeysOfExamples holds the keys of the examples: a change of the code that
// changes one rebuilds all that users have. Drivers and origins have fixed
// fingerprints and pins here, so that the keys depend on the definitions alone.
func TestKeysOfExamples(t *testing.T) {
	examples := t.TempDir()
	if err := copyWithModes(examples, "../../examples"); err != nil {
		t.Fatal(err)
	}
	definitions, err := filepath.Glob(filepath.Join(examples, "*/images.star"))
	if err != nil || len(definitions) < 5 {
		t.Fatalf("found %q, %v", definitions, err)
	}
	var got strings.Builder
	for _, file := range definitions {
		keys, err := keysOf(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%s\n%s\n", filepath.Base(filepath.Dir(file)), keys)
	}
	const golden = "testdata/keys.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the keys of the examples have changed: raise plan.Schema, or find out why; -update renews %s\ngot:\n%swant:\n%s", golden, got.String(), want)
	}
}

// copyWithModes copies the files of a checkout with the permission bits that git
// records, whatever the umask of the one who checked them out.
func copyWithModes(dst, src string) error {
	if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
		return err
	}
	return filepath.WalkDir(dst, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		return os.Chmod(path, mode)
	})
}

// keysOf returns the keys of a definition's targets, one a line.
func keysOf(ctx context.Context, file string) (string, error) {
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return "", err
	}
	c := build.Config{Platforms: all.Table(), Builtins: builtins.Table(), Formats: export.Formats(), Dir: dir}
	d, err := build.Evaluate(ctx, c, filepath.Base(file))
	if err != nil {
		return "", err
	}
	for _, n := range d.Plan.Nodes {
		if _, ok := n.Op.(plan.Source); ok {
			n.Pin = &platforms.Pin{ID: "pinned"}
		}
	}
	if err := d.Plan.HashInputs(ctx, plan.HashFile{}); err != nil {
		return "", err
	}
	if err := d.Plan.Seal(func(p *plan.Platform) (string, error) { return p.Name, nil }); err != nil {
		return "", err
	}
	var lines strings.Builder
	for _, t := range build.Targets(d) {
		fmt.Fprintf(&lines, "  %s %s\n", t.Name, t.Node.Key)
	}
	return lines.String(), nil
}
