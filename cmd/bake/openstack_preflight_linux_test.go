package main

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testopenstack"
)

// tooMuch asks an OpenStack for what it does not give, each in a line of its own.
const tooMuch = `layer = source(rootfs(), scratch = True)
for name in ["/boot/vmlinuz", "/boot/initrd.img", "/sbin/init"]:
    layer = write(layer, name, "never started\n", mode = "0755")
lab = openstack(region = "RegionOne", cloud_user = "admin", cloud_password = secret("pw"), project = "admin", flavor = "tiny", networks = ["build"])
other = openstack(cloud_user = "somebody", cloud_password = secret("pw"), project = "other", region = "RegionOne", flavor = "tiny")
second = openstack(cloud_user = "somebody", cloud_password = secret("pw"), project = "other", region = "RegionTwo")
want = param("want")
if want == "disk":
    export(write(source(lab, image = "wide"), "/etc/a", "a"), "web") # disk
if want == "servers":
    export(write(source(other, image = "for-all"), "/etc/a", "a"), "web") # servers
if want == "volume":
    export(write(source(lab, volume = "no such"), "/etc/a", "a"), "web") # volume
if want == "format":
    export(layer, "web", to = [second], size = "64M", image_format = "vhdx") # format
if want == "public":
    export(layer, "web", to = [second], size = "64M", visibility = "public") # public
`

// TestOpenStackPreflight wants what the cloud does not give to be told at the line that asks
// for it, and nothing to be left there.
func TestOpenStackPreflight(t *testing.T) {
	need.Slow(t)
	need.Root(t)
	need.Tool(t, "mke2fs", "grub-mkimage", "qemu-img")
	c := openStack.Get(t)
	for name, properties := range map[string]map[string]string{"wide": {"min_disk": "5"}, "for-all": {"visibility": "public"}} {
		if err := c.AddImage(t.Context(), name, properties); err != nil {
			t.Fatal(err)
		}
	}
	bin, dir := buildBake(t), t.TempDir()
	for name, text := range map[string]string{"images.star": tooMuch, "BAKE_ROOT": "preflight-" + rand.Text()[:8] + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for want, message := range map[string]string{
		"disk":    "flavor: tiny has a disk of 1 GiB, and the image wide needs 5",
		"servers": "the project's quota is 0 servers, 0 are used, and a server of the flavor tiny takes 1",
		"volume":  `volume: RegionOne has no "no such"`,
		"format":  "image_format: RegionTwo does not take vhdx images: it takes ",
		"public":  "visibility: the project may not make public images in RegionTwo",
	} {
		cmd := exec.Command(bin, "build", "--progress=plain", "-p", "want="+want)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "BAKE_CACHE_DIR="+filepath.Join(dir, "cache"), "OS_AUTH_URL="+c.URL, "BAKE_SECRET_PW="+testopenstack.Password)
		out, err := cmd.CombinedOutput()
		line := 0
		for n, text := range strings.Split(tooMuch, "\n") {
			if strings.HasSuffix(text, "# "+want) {
				line = n + 1
			}
		}
		at := "images.star:" + strconv.Itoa(line) + ":"
		if err == nil || !strings.Contains(string(out), message) || !strings.Contains(string(out), at) {
			t.Errorf("%s: %v, want %q and %q:\n%s", want, err, at, message, out)
		}
	}
	if left, err := c.Left(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
