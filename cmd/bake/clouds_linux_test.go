package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/runtime/export"
)

// clouds is a definition whose image goes to two values of one platform, and into a
// file. Nothing boots it.
const clouds = `
number = param("number", default = 0)

m = source(rootfs(), tar = "root.tar")
m = write(m, "/boot/vmlinuz", "no kernel %d\n" % number)
m = write(m, "/boot/initrd.img", "no initial RAM disk\n")
prod = aws(name = "prod", region = "eu-west-1", tags = {"stage": "prod"})
test = aws(name = "test", region = "us-east-1", tags = {"stage": "test"})
export(m, "web", to = [prod, test], size = "256M")
export(m, "web", formats = ["tar"])
`

// TestTwoClouds has one artifact registered in two places of one kind of cloud, and
// finds both in files.
func TestTwoClouds(t *testing.T) {
	a := newAccount(t, clouds)
	a.run("build", "--progress=plain")
	eu, us := a.cloud.Images("eu-west-1"), a.cloud.Images("us-east-1")
	if len(eu) != 1 || len(us) != 1 {
		t.Fatalf("images %v and %v", eu, us)
	}
	manifest := func(target string) *export.Manifest {
		t.Helper()
		m, err := export.ReadManifest(filepath.Join(a.dir, "out", target))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	prod, test := manifest("web@prod"), manifest("web@test")
	for _, c := range []struct {
		m           *export.Manifest
		label, id   string
		place, name string
	}{{prod, "prod", eu[0].ID, "eu-west-1", eu[0].Name}, {test, "test", us[0].ID, "us-east-1", us[0].Name}} {
		if len(c.m.Images) != 1 {
			t.Fatalf("the manifest of %s lists %+v", c.label, c.m.Images)
		}
		i := c.m.Images[0]
		if i.Platform != c.label || i.ID != c.id || i.Place != c.place || i.Name != c.name {
			t.Errorf("the manifest of %s says %+v", c.label, i)
		}
		if i.Tags["stage"] != c.label || i.Created == nil {
			t.Errorf("the manifest of %s says of tags %v, made %v", c.label, i.Tags, i.Created)
		}
		if len(c.m.Key) != 64 || len(c.m.Layers) != 3 || c.m.Params["number"] != "0" || c.m.Definition != "images.star" {
			t.Errorf("the manifest of %s says %+v", c.label, c.m)
		}
	}
	if _, err := os.Stat(filepath.Join(a.dir, "out/web/web.tar")); err != nil {
		t.Error(err)
	}

	// One that somebody has removed is written again, and what it says is found by
	// asking: nothing is registered twice.
	if err := os.RemoveAll(filepath.Join(a.dir, "out/web@test")); err != nil {
		t.Fatal(err)
	}
	if out := a.run("build", "web@test", "--progress=plain"); !strings.Contains(out, "nothing to do") {
		t.Errorf("built again:\n%s", out)
	}
	if again := manifest("web@test"); again.Images[0].ID != us[0].ID {
		t.Errorf("the manifest says %+v", again.Images)
	}
	a.run("build", "web@prod", "--progress=plain", "-p", "number=1")
	if eu, us = a.cloud.Images("eu-west-1"), a.cloud.Images("us-east-1"); len(eu) != 2 || len(us) != 1 {
		t.Errorf("images %v and %v", eu, us)
	}
	if now := manifest("web@prod"); now.Images[0].ID == prod.Images[0].ID || now.Key == prod.Key {
		t.Errorf("the manifest of another image says %+v", now.Images)
	}

	a.define(strings.Replace(strings.Replace(clouds, `name = "prod", `, "", 1), `name = "test", `, "", 1))
	a.fails(`aws(name = "…") tells the two apart, as web@…`, "plan")
	a.define(strings.Replace(clouds, `"prod", region`, `"a/b", region`, 1))
	a.fails(`aws: name: "a/b": want letters`, "plan")
}
