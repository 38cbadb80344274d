package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/all"
	"bake.build/bake/platforms/fake"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
)

// A mark is a toy step: what a newcomer writes in runtime/op.
type mark struct {
	Text string `key:"text"`
}

func (*mark) Kind() string { return "mark" }

func (m *mark) Apply(ctx context.Context, machine platforms.Machine, env plan.Env) error {
	return machine.Run(ctx, platforms.Cmd{
		Args:   []string{"/bin/sh", "-c", "echo " + m.Text + " > /mark"},
		Stdout: env.Out,
		Stderr: env.Out,
	})
}

// A markArgs holds the arguments of the toy builtin.
type markArgs struct {
	Layer *builtins.Layer `bake:"layer,required" help:"The layer to change."`
	Text  string          `bake:"text,required" help:"What to write."`
	builtins.StepOptions
}

func markBuiltin() builtins.Builtin {
	return builtins.Declare("mark", "Writes /mark.", "layer", func(c *builtins.Call, a *markArgs) (starlark.Value, error) {
		return c.Step(a.Layer, &mark{Text: a.Text}, a.StepOptions, "mark: "+a.Text), nil
	})
}

// listing is a toy format: the names of the root's files.
var listing = export.Format{
	Name: "listing", Ext: ".txt", From: export.FromTree, Doc: "The names of files.",
	Write: func(ctx context.Context, j *export.Job, out string) error {
		return j.Tree(ctx, func(dir string) error {
			entries, err := os.ReadDir(dir)
			if err != nil {
				return err
			}
			var b strings.Builder
			for _, e := range entries {
				b.WriteString(e.Name() + "\n")
			}
			return os.WriteFile(out, []byte(b.String()), 0o644)
		})
	},
}

// TestNewcomer registers a toy platform, a toy builtin and a toy format from
// outside, each with one line, and builds with all three. The platform is the
// fake one: no machine is started and no right is needed.
func TestNewcomer(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("BAKE_CACHE_DIR", filepath.Join(dir, "cache"))
	text := `m = mark(source(toybox(), text = "one"), "hello")
export(m, "toy", formats = ["listing"])
`
	if err := os.WriteFile(filepath.Join(dir, "images.star"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	driver := &fake.Driver{}
	run := func() (code int, stderr string) {
		var out, errs bytes.Buffer
		a := &app{
			specs:    append(all.Table(), fake.Spec("toybox", driver)),
			builtins: append(builtins.Table(), markBuiltin()),
			formats:  append(export.Formats(), listing),
			stdin:    strings.NewReader(""),
			stdout:   &out,
			stderr:   &errs,
			dir:      dir,
			getenv:   os.Getenv,
			environ:  os.Environ,
		}
		code = a.main(t.Context(), []string{"build", "--progress=plain"})
		return code, errs.String()
	}
	if code, errs := run(); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	got, err := os.ReadFile(filepath.Join(dir, "out", "toy", "toy.txt"))
	if err != nil || !strings.Contains(string(got), "mark\n") {
		t.Errorf("artifact %q, %v", got, err)
	}
	boots := driver.Count(fake.Boot)
	if code, errs := run(); code != exitOK || !strings.Contains(errs, "nothing to do") {
		t.Errorf("second build: exit code %d\n%s", code, errs)
	}
	if now := driver.Count(fake.Boot); now != boots {
		t.Errorf("the second build opened %d machines", now-boots)
	}
}
