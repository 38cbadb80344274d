package rootfs_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"bake.build/bake/platforms"
)

// TestModes holds who may reach what a machine writes: users of the machine
// its caches, whatever the umask of bake, and users of the host nothing.
func TestModes(t *testing.T) {
	f := newFixture(t, "")
	defer unix.Umask(unix.Umask(0o077))
	m := f.boot(t)
	cached := func(c *platforms.Cmd) {
		c.Caches = []platforms.Cache{{ID: "packages", Dir: "/var/cache/x"}}
	}
	if out, err := sh(m, "chmod 1777 /var/cache/x && su ann -c 'touch /var/cache/x/f'", cached); err != nil {
		t.Fatal(err, out)
	}
	if out, err := sh(f.boot(t), "stat -c %a /var/cache/x", cached); err != nil || out != "1777" {
		t.Errorf("the mode that a step gave its cache: %s, %v", out, err)
	}
	other := func(c *platforms.Cmd) { c.Caches = []platforms.Cache{{ID: "new", Dir: "/c"}} }
	if out, err := sh(m, "stat -c %a /c", other); err != nil || out != "755" {
		t.Errorf("the mode of a new cache: %s, %v", out, err)
	}
	for _, pattern := range []string{"machine*", "caches/rootfs-caches/packages"} {
		found, err := filepath.Glob(filepath.Join(f.host.dir, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: nothing, %v", pattern, err)
		}
		for _, dir := range found {
			if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
				t.Errorf("%s: mode %v, %v", filepath.Base(dir), fi.Mode(), err)
			}
		}
	}
}
