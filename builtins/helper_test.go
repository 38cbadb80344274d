package builtins

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/starlark/eval"
)

type toyOptions struct {
	Region string            `bake:"region" json:"region,omitempty" help:"Where." choices:"north|south"`
	Tags   map[string]string `bake:"tags" json:"tags,omitempty" help:"Tags."`
	Turbo  bool              `bake:"turbo" json:"turbo,omitempty" help:"Faster."`
	Config string            `bake:"config,path" json:"config,omitempty" help:"A file."`
	Levels string            `bake:"levels" json:"levels,omitempty" help:"How many."`
}

type toyOrigin struct {
	Debian   string   `bake:"debian,origin" json:"debian,omitempty" help:"A suite."`
	Disk     string   `bake:"disk,path,origin" json:"disk,omitempty" help:"A disk."`
	OCI      string   `bake:"oci,ref,origin" json:"oci,omitempty" help:"An image."`
	From     string   `bake:"layer,layer,origin" json:"layer,omitempty" help:"A layer."`
	Scratch  bool     `bake:"scratch,origin" json:"scratch,omitempty" help:"Nothing."`
	SHA256   string   `bake:"sha256" json:"sha256,omitempty" help:"The digest."`
	Packages []string `bake:"packages" json:"packages,omitempty" help:"Packages."`
	Wait     string   `bake:"wait,duration" json:"wait,omitempty" help:"How long."`
	Size     string   `bake:"size,size" json:"size,omitempty" help:"How much."`
	Level    int      `bake:"level" json:"level,omitempty" help:"How high."`
}

type toyPublication struct {
	Colors []string `bake:"colors" json:"colors,omitempty" help:"What it looks like."`
}

func toySpec(name string) platforms.Spec {
	spec := platforms.Declare[toyOptions, toyOrigin](name, "A toy.", func(toyOptions, platforms.Host) (platforms.Driver, error) {
		panic("a plan needs no driver")
	})
	if name == "toy" {
		platforms.DeclarePublication[toyPublication](&spec, platforms.DiskUse{Format: "raw"})
	}
	return spec
}

// evaluate runs the definition text in a project that holds files.
func evaluate(t testing.TB, dir, text string, params map[string]ParamInput) (*Definition, *eval.Project, error) {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	file := filepath.Join(dir, "images.star")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	project, err := eval.OpenProject(file, dir)
	if err != nil {
		t.Fatal(err)
	}
	c := New(Config{
		Project:   project,
		Platforms: []platforms.Spec{toySpec("rootfs"), toySpec("toy")},
		Formats:   export.Formats(),
		Absent:    map[string]string{"vsphere": "the platform vsphere comes with a later version"},
		Params:    params,
	})
	_, err = eval.Run(context.Background(), eval.Config{
		Project:     project,
		Predeclared: c.Predeclared(Table()),
		Undefined:   c.Undefined,
	})
	if err != nil {
		return nil, project, err
	}
	d, err := c.Finish()
	return d, project, err
}

func writeFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
