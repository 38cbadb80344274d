package build_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
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
	fails  error  // of Publish
	disk   []byte // what it was given
	images []platforms.Registered
}

type glanceOptions struct {
	Cloud string `bake:"cloud" json:"cloud,omitempty" help:"Which cloud."`
}

type glancePublication struct {
	Public bool   `bake:"public" json:"public,omitempty" help:"Who sees the image."`
	Wants  string `bake:"wants" json:"wants,omitempty" help:"The format of the disk." default:"that of the declaration"`
}

// A chooser is a glance whose publications say what disk they take.
type chooser struct{ *glance }

func (chooser) TakesFormat(options json.RawMessage) (string, error) {
	var o glancePublication
	if len(options) > 0 {
		if err := json.Unmarshal(options, &o); err != nil {
			return "", err
		}
	}
	return cmp.Or(o.Wants, "raw"), nil
}

func (g *glance) CheckPublish(context.Context, platforms.Publication) error { return nil }

func (g *glance) Published(context.Context, platforms.Publication) ([]platforms.Registered, string, error) {
	if len(g.images) == 0 {
		return nil, "there is none", nil
	}
	return g.images, "", nil
}

func (g *glance) Publish(_ context.Context, p platforms.Publication, from platforms.ImageSource, _ platforms.Logger) (_ []platforms.Registered, err error) {
	if g.disk, err = os.ReadFile(from.Disk); err != nil {
		return nil, err
	}
	beside, err := os.ReadDir(filepath.Dir(from.Disk))
	if err == nil && len(beside) != 1 {
		err = errors.New("more than the disk is there")
	}
	if g.fails != nil {
		return nil, g.fails
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

// TestFormatTaker gives two publications of one platform the disk in the format that each
// asks for.
func TestFormatTaker(t *testing.T) {
	for options, vhd := range map[string]bool{"": false, `, wants = "vhd"`: true} {
		g := &glance{}
		spec := platforms.Declare[glanceOptions, fake.Origin]("glance", "A cloud.", func(glanceOptions, platforms.Host) (platforms.Driver, error) { return chooser{g}, nil })
		platforms.DeclarePublication[glancePublication](&spec, platforms.DiskUse{Format: "qcow2"})
		vm := platforms.Declare[fake.Options, fake.Origin]("vm", "Machines.", func(fake.Options, platforms.Host) (platforms.Driver, error) { return &fake.VM{}, nil })
		vm.Boots = true
		c := config(t, `export(write(source(vm(), text = "origin"), "/etc/word", "hello"), "web", to = [glance()]`+options+")\n")
		c.Platforms = []platforms.Spec{vm, spec}
		err := build.Use(t.Context(), c, "images.star", func(b *build.Build) error {
			_, err := b.Run(t.Context(), b.Definition.Artifacts, build.Options{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.HasPrefix(g.disk[max(0, len(g.disk)-512):], []byte("conectix")); got != vhd || len(g.disk) == 0 {
			t.Errorf("%q: a VHD: %v, want %v", options, got, vhd)
		}
	}
}

// TestDiskIsMadeOnce writes a machine's disk in several formats, in several artifacts
// and as an image of a platform: the machine is asked once, all get the same bits, and
// nothing of the disk stays. A format that is added later has the bits of the first ones.
func TestDiskIsMadeOnce(t *testing.T) {
	var asked atomic.Int32
	machines := &fake.VM{Driver: fake.Driver{Fault: func(_ context.Context, c fake.Call, _ int, _ string) error {
		if c == fake.Disk {
			asked.Add(1)
		}
		return nil
	}}}
	vm := platforms.Declare[fake.Options, fake.Origin]("vm", "Machines.", func(fake.Options, platforms.Host) (platforms.Driver, error) { return machines, nil })
	vm.Boots = true
	g := &glance{}
	cloud := platforms.Declare[glanceOptions, fake.Origin]("glance", "A cloud.", func(glanceOptions, platforms.Host) (platforms.Driver, error) { return g, nil })
	platforms.DeclarePublication[glancePublication](&cloud, platforms.DiskUse{Format: "raw"})
	const layer = "m = write(source(vm(), text = \"origin\"), \"/etc/word\", \"hello\")\n"
	c := config(t, layer+`
export(m, "web", formats = ["raw", "vhd"])
export(m, "other", formats = ["raw"])
export(m, "larger", formats = ["raw"], size = "1M")
export(m, "cloud", to = [glance()])
`)
	c.Platforms = []platforms.Spec{vm, cloud}
	run := func() error {
		return build.Use(t.Context(), c, "images.star", func(b *build.Build) error {
			_, err := b.Run(t.Context(), b.Definition.Artifacts, build.Options{})
			return err
		})
	}
	disk := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(c.Dir, "out", name, name+".raw"))
		if err != nil {
			t.Error(err)
		}
		return b
	}
	empty := func() {
		t.Helper()
		if left, err := os.ReadDir(filepath.Join(c.StoreDir, "staging")); err != nil || len(left) > 0 {
			t.Errorf("in the store's staging directory: %v, %v", left, err)
		}
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("the machines wrote %d disks, want one of each size", n)
	}
	if web := disk("web"); len(web) == 0 || !bytes.Equal(web, disk("other")) || !bytes.Equal(web, g.disk) {
		t.Error("the artifacts of one disk differ")
	}
	empty()

	before := disk("web")
	if err := os.WriteFile(filepath.Join(c.Dir, "images.star"), []byte(layer+`
export(m, "web", formats = ["vhd", "raw", "tar"])
export(m, "added", formats = ["raw"])
`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 2 || !bytes.Equal(before, disk("added")) {
		t.Errorf("%d disks were written, and the artifact that was added differs: %v", n, !bytes.Equal(before, disk("added")))
	}

	// An artifact that this host has not written is read by nobody.
	foreign := c
	foreign.StoreDir = filepath.Join(t.TempDir(), "store")
	if err := os.RemoveAll(filepath.Join(c.Dir, "out/added")); err != nil {
		t.Fatal(err)
	}
	c, foreign = foreign, c
	if err := run(); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("%d disks were written: another host's artifact was taken for the disk", n)
	}
	c = foreign

	// A failure of what uses the disk leaves nothing of it either.
	if err := os.WriteFile(filepath.Join(c.Dir, "images.star"), []byte(layer+`
export(m, "cloud", to = [glance(cloud = "b")])
`), 0o644); err != nil {
		t.Fatal(err)
	}
	g.images, g.fails = nil, errors.New("no such cloud")
	if err := run(); !errors.Is(err, g.fails) {
		t.Errorf("the build: %v", err)
	}
	empty()
}
