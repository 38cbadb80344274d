package build_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/fake"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/export"
)

// A glance is a platform that takes disks in a format of its own choice, and makes no
// machines.
type glance struct {
	fake.VM
	disk   []byte // what it was given
	images []platforms.Registered
}

type glanceOptions struct {
	Cloud string `bake:"cloud" json:"cloud,omitempty" help:"Which cloud."`
}

type glancePublication struct {
	Public bool `bake:"public" json:"public,omitempty" help:"Who sees the image."`
}

func (g *glance) CheckPublish(context.Context, platforms.Publication) error { return nil }

func (g *glance) Published(context.Context, platforms.Publication) ([]platforms.Registered, string, error) {
	if len(g.images) == 0 {
		return nil, "there is none", nil
	}
	return g.images, "", nil
}

func (g *glance) Publish(_ context.Context, p platforms.Publication, disk string, _ platforms.Logger) (_ []platforms.Registered, err error) {
	if g.disk, err = os.ReadFile(disk); err != nil {
		return nil, err
	}
	beside, err := os.ReadDir(filepath.Dir(disk))
	if err == nil && len(beside) != 1 {
		err = errors.New("more than the disk is there")
	}
	g.images = []platforms.Registered{{ID: "i-1", Name: p.Name}}
	return g.images, err
}

// TestPublisherTakes gives platforms the disk in the format that each asks for.
func TestPublisherTakes(t *testing.T) {
	for format, check := range map[string]func(disk []byte) bool{
		"raw": func(b []byte) bool {
			return bytes.Contains(b, []byte("etc/word")) && !bytes.Contains(b, []byte("conectix"))
		},
		"vhd": func(b []byte) bool { return bytes.HasPrefix(b[max(0, len(b)-512):], []byte("conectix")) },
	} {
		g := &glance{}
		spec := platforms.Declare[glanceOptions, fake.Origin]("glance", "A cloud.", func(glanceOptions, platforms.Host) (platforms.Driver, error) { return g, nil })
		platforms.DeclarePublication[glancePublication](&spec, platforms.DiskUse{Format: format})
		vm := platforms.Declare[fake.Options, fake.Origin]("vm", "Machines.", func(fake.Options, platforms.Host) (platforms.Driver, error) { return &fake.VM{}, nil })
		vm.Boots = true
		c := config(t, `
m = source(vm(), text = "origin")
m = write(m, "/etc/word", "hello")
export(m, "web", to = [glance(cloud = "a")])
`)
		c.Platforms = []platforms.Spec{vm, spec}
		err := build.Use(t.Context(), c, "images.star", func(b *build.Build) error {
			_, err := b.Run(t.Context(), b.Definition.Artifacts, build.Options{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(g.disk) == 0 || !check(g.disk) {
			t.Errorf("%s: the platform got %d bytes that are something else", format, len(g.disk))
		}
		m, err := export.ReadManifest(filepath.Join(c.Dir, "out/web"))
		if err != nil || len(m.Images) != 1 || m.Images[0].ID != "i-1" || m.Images[0].Platform != "glance" {
			t.Errorf("%s: the manifest says %+v, %v", format, m, err)
		}
		if _, err := os.Stat(filepath.Join(c.Dir, "out/web", export.SumsName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: sums of no files: %v", format, err)
		}
	}
}
