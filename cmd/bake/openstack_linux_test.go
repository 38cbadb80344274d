package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testopenstack"
	"bake.build/bake/internal/testsshd"
)

// TestOpenStackExample is the example by itself: TestExamples leaves it out, whose store
// and programs it does not need.
func TestOpenStackExample(t *testing.T) {
	need.Slow(t)
	need.Root(t)
	e := &example{bin: buildBake(t), dir: t.TempDir()}
	if err := os.CopyFS(filepath.Join(e.dir, "openstack"), os.DirFS("../../examples/openstack")); err != nil {
		t.Fatal(err)
	}
	testOpenStackExample(t, e)
}

// testOpenStackExample builds the example in an OpenStack of Debian's packages, whose
// servers are SSH servers of this host.
func testOpenStackExample(t *testing.T, e *example) {
	need.Tool(t, testsshd.Tools...)
	var shared testopenstack.Shared
	c := shared.Get(t)
	defer func() {
		if err := shared.Close(); err != nil {
			t.Error(err)
		}
	}()
	for name, value := range map[string]string{
		"OS_AUTH_URL": c.URL, "OS_USERNAME": testopenstack.User, "OS_PASSWORD": testopenstack.Password, "OS_PROJECT_NAME": testopenstack.Project, "OS_REGION_NAME": testopenstack.Region,
	} {
		t.Setenv(name, value)
	}
	if err := c.AddImage(t.Context(), "debian-12", map[string]string{"os_admin_user": "root"}); err != nil {
		t.Fatal(err)
	}
	build := func() string {
		return e.run(t, "openstack", "build", "--progress=plain", "-p", "packages=", "-p", "flavor=tiny")
	}
	out := build()
	images, err := c.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, i := range images {
		if strings.HasPrefix(i.Name, "web-") && i.Properties["release"] == "dev" && i.Status == "active" {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d images of %v\n%s", found, images, out)
	}
	if again := build(); strings.Contains(again, "started the server") {
		t.Errorf("a second build starts a server:\n%s", again)
	}
}
