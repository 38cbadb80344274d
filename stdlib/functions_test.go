package stdlib_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bake.build/bake/builtins"
	"bake.build/bake/builtins/reference"
	"bake.build/bake/platforms/all"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/spec"
	"bake.build/bake/starlark/doc"
	"bake.build/bake/stdlib"
)

// functions calls use with each function that definitions may load, by the name of its
// file, such as "apt.star", and its own, such as "apt.install".
func functions(t *testing.T, use func(file string, s doc.Symbol)) {
	t.Helper()
	files, err := reference.Tree{FS: stdlib.FS, Prefix: "@bake//"}.Files(".")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		for _, s := range file.Symbols {
			if s.Kind == doc.Function && s.File == file.Name {
				use(strings.TrimPrefix(file.Name, "@bake//"), s)
			}
		}
	}
}

// config is how the program evaluates what is in dir.
func config(dir, storeDir string, params ...string) build.Config {
	return build.Config{
		Platforms: all.Table(), Builtins: builtins.Table(), Formats: export.Formats(),
		Dir: dir, StoreDir: storeDir, Environ: os.Environ(), Params: params,
	}
}

// failures is a spec.Reporter that tells a test what failed.
type failures struct{ *testing.T }

func (f failures) Begin(int) error        { return nil }
func (f failures) End(spec.Summary) error { return nil }
func (f failures) Result(r spec.Result) error {
	if r.Status != spec.Passed {
		f.Errorf("%s: %s: %v", r.ID(), r.Status, errors.Join(r.Errors...))
	}
	return nil
}

// TestArguments runs the tables of what functions take and refuse. No argument reaches a
// shell or a file unless it is what it should be.
func TestArguments(t *testing.T) {
	dir, err := filepath.Abs("testdata/arguments")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := spec.Run(t.Context(), config(dir, t.TempDir()), spec.Options{Paths: []string{"."}}, failures{t})
	if err != nil || sum.Passed < 20 {
		t.Fatalf("%d passed: %v", sum.Passed, err)
	}
}

// TestAllArguments holds that the tables have every function that could be given what is
// wrong.
func TestAllArguments(t *testing.T) {
	functions(t, func(file string, s doc.Symbol) {
		if !slices.ContainsFunc(s.Params, takesMore) || file == "ansible.star" {
			return
		}
		table, err := os.ReadFile(filepath.Join("testdata/arguments", strings.TrimSuffix(file, ".star")+"_test.star"))
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`t\.fails\(lambda: ` + regexp.QuoteMeta(s.Name) + `\(`).Match(table) {
			t.Errorf("no argument of %s is refused in the table of %s", s.Name, file)
		}
	})
}

// takesMore reports whether p is more than a layer, a switch or the options of a step.
func takesMore(p doc.Param) bool {
	return p.Name != "layer" && p.Name != "**options" && p.Default != "True" && p.Default != "False"
}

// twice is the definition that applies functions two times each.
const twice = "testdata/debian/twice.star"

// TestAllTwice holds that the definition has every function. Those of Ansible are in
// golden.star, which judges them by a playbook.
func TestAllTwice(t *testing.T) {
	text, err := os.ReadFile(twice)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := map[string]string{
		"files.render":           "no layer",
		"guest_agent.virtualbox": "Debian 12 has no package of it",
	}
	functions(t, func(file string, s doc.Symbol) {
		if file != "ansible.star" && elsewhere[s.Name] == "" && !strings.Contains(string(text), `"`+s.Name+`": `) {
			t.Errorf("%s does not apply %s of %s", twice, s.Name, file)
		}
	})
}

// told is what a second application may change: a report of what the first has done.
var told = map[string]string{"cis.harden": "var/lib/image/cis.json"}

// testTwice looks whether the second application of a function has changed anything. The
// layers are in the store.
func testTwice(t *testing.T, project, storeDir string, params []string) {
	err := build.Use(t.Context(), config(project, storeDir, params...), filepath.Base(twice), func(b *build.Build) error {
		targets := build.Targets(b.Definition)
		if _, err := b.Plan(t.Context(), targets); err != nil {
			return err
		}
		layers := map[string]string{} // keys by the names of artifacts
		for _, target := range targets {
			layers[target.Name] = target.Node.Deps[0].Key.String()
		}
		count := 0
		for name, again := range layers {
			function, ok := strings.CutPrefix(name, "twice-")
			if !ok {
				continue
			}
			count++
			changes, err := changesOf(t.Context(), b, layers["once-"+function], again)
			if err != nil {
				return fmt.Errorf("%s: %w", function, err)
			}
			for _, c := range changes {
				if c.Path != told[function] {
					t.Errorf("%s: its second application: %c %s", function, c.What, c.Path)
				}
			}
		}
		if count < 80 {
			t.Errorf("%d functions were compared", count)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func changesOf(ctx context.Context, b *build.Build, before, after string) ([]build.FileChange, error) {
	old, err := b.Layer(ctx, before, build.Options{})
	if err != nil {
		return nil, err
	}
	now, err := b.Layer(ctx, after, build.Options{})
	if err != nil {
		return nil, err
	}
	return build.Diff(ctx, old, now)
}
