package builtins_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
	"go.starlark.net/starlark"
)

// A touch is what a newcomer writes in runtime/op.
type touch struct {
	Paths []string `key:"paths"`
}

func (*touch) Kind() string { return "touch" }

func (t *touch) Apply(ctx context.Context, m platforms.Machine, _ plan.Env) error {
	return m.Run(ctx, platforms.Cmd{Args: append([]string{"touch"}, t.Paths...)})
}

// The rest is what a newcomer writes in builtins.
type touchArgs struct {
	Layer *builtins.Layer `bake:"layer,required" help:"The layer to change."`
	Paths []string        `bake:"paths,required" help:"The files to make."`
	builtins.StepOptions
}

func touchBuiltin() builtins.Builtin {
	return builtins.Declare("touch", "Makes empty files.", "layer", func(c *builtins.Call, a *touchArgs) (starlark.Value, error) {
		return c.Step(a.Layer, &touch{Paths: a.Paths}, a.StepOptions, "touch: "+a.Paths[0]), nil
	})
}

type toyOrigin struct {
	Scratch bool `bake:"scratch,origin" json:"scratch,omitempty" help:"Nothing."`
}

// TestNewcomer registers a platform and a builtin from outside: one line each.
func TestNewcomer(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "images.star")
	text := "m = source(toybox(), scratch = True)\nm = touch(m, ['/a', '/b'], timeout = '5s')\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	project, err := eval.OpenProject(file, dir)
	if err != nil {
		t.Fatal(err)
	}
	c := builtins.New(builtins.Config{Project: project, Platforms: []platforms.Spec{
		platforms.Declare[struct{}, toyOrigin]("toybox", "A toy.", func(struct{}, platforms.Host) (platforms.Driver, error) { return nil, nil }),
	}})
	table := append(builtins.Table(), touchBuiltin())
	if _, err := eval.Run(t.Context(), eval.Config{Project: project, Predeclared: c.Predeclared(table)}); err != nil {
		t.Fatal(err)
	}
	d, err := c.Finish()
	if err != nil {
		t.Fatal(err)
	}
	n := d.Plan.Nodes[1]
	if n.Name != "touch: /a" || n.Pos[0].Line != 2 || n.Run.Timeout.Seconds() != 5 || n.Platform.Name != "toybox" {
		t.Errorf("node %+v", n)
	}
	if err := d.Plan.Seal(func(*plan.Platform) (string, error) { return "toybox/1", nil }); err != nil {
		t.Error(err)
	}
}
