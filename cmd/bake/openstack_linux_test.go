package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	c := openStack.Get(t)
	setOpenStack(t, c)
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

// TestOpenStackClouds uploads one disk to two clouds of clouds.yaml, each in the format that
// it takes, and reads one back.
func TestOpenStackClouds(t *testing.T) {
	need.Slow(t)
	need.Root(t)
	need.Tool(t, "mke2fs", "grub-mkimage", "qemu-img")
	c := openStack.Get(t)
	bin, dir := buildBake(t), t.TempDir()
	clouds := "clouds:\n"
	for name, region := range map[string]string{"dc1": testopenstack.Region, "dc2": testopenstack.Second} {
		clouds += fmt.Sprintf("  %s:\n    region_name: %s\n    auth: {auth_url: %q, username: admin, password: pw, project_name: admin, user_domain_name: Default, project_domain_name: Default}\n", name, region, c.URL)
	}
	for name, text := range map[string]string{"clouds.yaml": clouds, "BAKE_ROOT": "clouds-" + rand.Text()[:8] + "\n", "images.star": `
layer = source(rootfs(), scratch = True)
for name in ["/boot/vmlinuz", "/boot/initrd.img", "/sbin/init"]:
    layer = write(layer, name, "never started\n", mode = "0755")
export(layer, "file", formats = ["raw"], size = "64M")
export(layer, "web", to = [openstack(name = "one", cloud = "dc1"), openstack(name = "two", cloud = "dc2")], size = "64M", image_name = "two-clouds-" + param("id"))
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	name := strings.ToLower(rand.Text()[:8])
	bake := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(bin, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "BAKE_CACHE_DIR="+filepath.Join(dir, "cache"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("bake %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	bake("build", "--progress=plain", "-p", "id="+name)
	if out := bake("build", "--progress=plain", "-p", "id="+name); strings.Contains(out, "uploaded ") {
		t.Errorf("a second build uploads:\n%s", out)
	}
	bake("pull", "--platform", "openstack", "--option", "cloud=dc2", "two-clouds-"+name, "--out", "pulled.raw")
	made, err := os.ReadFile(filepath.Join(dir, "out/file/file.raw"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "pulled.raw")); err != nil || !bytes.Equal(got, made) {
		t.Errorf("pulled %d bytes of %d, %v", len(got), len(made), err)
	}
}

// onServers has a layer that a server makes, and a disk that is uploaded.
const onServers = `
n = param("n", default = "last")
lab = openstack(networks = ["build"], flavor = "tiny", user = "root", checkpoint = "every-step")
m = write(source(lab, image = "debian-12"), "/etc/a", n)
m = write(m, "/etc/b", "b")
export(m, "native")
layer = source(rootfs(), scratch = True)
for name in ["/boot/vmlinuz", "/boot/initrd.img", "/sbin/init"]:
    layer = write(layer, name, "never started " + n, mode = "0755")
export(layer, "disk", to = [lab], size = "64M")
`

// TestOpenStackKilled kills bake at moments of a build that chance chooses; bake gc then
// leaves nothing but layers.
func TestOpenStackKilled(t *testing.T) {
	need.Slow(t)
	need.Root(t)
	need.Tool(t, append(testsshd.Tools, "mke2fs", "grub-mkimage", "qemu-img")...)
	c := openStack.Get(t)
	setOpenStack(t, c)
	bin, dir := buildBake(t), t.TempDir()
	for name, text := range map[string]string{"images.star": onServers, "BAKE_ROOT": "killed-" + rand.Text()[:8] + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bake := func(args ...string) *exec.Cmd {
		cmd := exec.Command(bin, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "BAKE_CACHE_DIR="+filepath.Join(dir, "cache"))
		return cmd
	}
	for n := range killTimes {
		cmd := bake("build", "--progress=plain", "-p", fmt.Sprint("n=", n)) // and nothing of it is there yet
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(mrand.IntN(10_000))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // it was killed, or is done
		kill.Stop()
		if out, err := bake("gc").CombinedOutput(); err != nil {
			t.Fatalf("kill %d: bake gc: %v\n%s", n, err, out)
		}
		left, err := c.Left(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(left) > 0 {
			t.Errorf("kill %d: left: %v", n, left)
		}
	}
	if out, err := bake("build", "--progress=plain").CombinedOutput(); err != nil {
		t.Errorf("the build after all: %v\n%s", err, out)
	}
}

// killTimes is how often.
const killTimes = 8

// openStack is the cloud of the tests of this package.
var openStack testopenstack.Shared

// setOpenStack has bake work with a cloud, in which there is an image to begin on.
func setOpenStack(t *testing.T, c *testopenstack.Cloud) {
	t.Helper()
	t.Setenv("OS_PASSWORD", testopenstack.Password)
	for _, v := range c.Env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	if err := c.AddImage(t.Context(), "debian-12", map[string]string{"os_admin_user": "root"}); err != nil {
		t.Fatal(err)
	}
}
