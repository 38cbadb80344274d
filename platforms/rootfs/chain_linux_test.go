package rootfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/platforms"
)

// TestLongChain boots on far more layers than names of theirs fit one page.
func TestLongChain(t *testing.T) {
	f := newFixture(t, "")
	var chain []platforms.Layer
	for i := range 300 {
		dir := filepath.Join(f.host.dir, fmt.Sprintf("layer,with:odd\\name-%064d", i))
		if err := os.MkdirAll(filepath.Join(dir, "fs/seen"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "fs/seen", fmt.Sprint(i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		chain = append(chain, platforms.Layer{Key: fmt.Sprint(i), Dir: dir})
	}
	m := f.boot(t, chain...)
	if out, err := sh(m, "ls /seen | wc -l"); err != nil || out != "300" {
		t.Errorf("%s, %v", out, err)
	}
	for range 2 {
		chain = append(chain, chain...)
	}
	m = f.boot(t, chain...)
	if _, err := sh(m, "true"); err == nil || !strings.Contains(err.Error(), "chain of 1201 layers") {
		t.Errorf("a chain that is too long: %v", err)
	}
}

// TestMovedLayer moves what was committed, as the store does, and goes on.
func TestMovedLayer(t *testing.T) {
	f := newFixture(t, "")
	m := f.boot(t)
	for i := range 3 {
		if out, err := sh(m, fmt.Sprintf("echo %d >> /log", i)); err != nil {
			t.Fatal(err, out)
		}
		l := f.commit(t, m, fmt.Sprint(i))
		if err := os.Rename(l.Dir, l.Dir+"-moved"); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := sh(m, "cat /log"); err != nil || out != "0\n1\n2" {
		t.Errorf("%q, %v", out, err)
	}
}

// TestLayerHoldsOnlyChanges looks at the raw content of layers.
func TestLayerHoldsOnlyChanges(t *testing.T) {
	f := newFixture(t, "")
	m := f.boot(t)
	for i, tt := range []struct{ script, want string }{
		{"true", ""},
		{"cat /etc/passwd /etc/resolv.conf > /dev/null; ls -R / > /dev/null 2>&1; hostname; echo x > /run/x; echo x > /dev/shm/x", ""},
		{"echo 1 > /new", "new"},
		{"rm /new; mkdir -p /d/e", "d d/e new"},
		{"rm -r /d && mkdir /d && touch /d/f", "d d/f"},
	} {
		if out, err := sh(m, tt.script); err != nil {
			t.Fatal(err, out)
		}
		l := f.commit(t, m, fmt.Sprint(i))
		var names []string
		root := filepath.Join(l.Dir, "fs")
		err := filepath.WalkDir(root, func(p string, _ os.DirEntry, err error) error {
			if rel, _ := filepath.Rel(root, p); rel != "." {
				names = append(names, rel)
			}
			return err
		})
		if got := strings.Join(names, " "); err != nil || got != tt.want {
			t.Errorf("%s: the layer holds %q, %v; want %q", tt.script, got, err, tt.want)
		}
	}
}

// TestHostileImage boots images whose mount points lead elsewhere.
func TestHostileImage(t *testing.T) {
	for _, name := range []string{"proc", "sys", "dev", "run"} {
		f := newFixture(t, "")
		fs := filepath.Join(f.base.Dir, "fs")
		if err := os.RemoveAll(filepath.Join(fs, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/etc", filepath.Join(fs, name)); err != nil {
			t.Fatal(err)
		}
		_, err := sh(f.boot(t), "true")
		if err == nil || !strings.Contains(err.Error(), "the image must have a directory there") {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := newFixture(t, "")
	if err := os.Remove(filepath.Join(f.base.Dir, "fs/etc/passwd")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(f.base.Dir, "fs/etc/passwd")); err != nil {
		t.Fatal(err)
	}
	if _, err := sh(f.boot(t), "true"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a device for /etc/passwd: %v", err)
	}
	f = newFixture(t, "")
	if err := os.Symlink("/../../../../../../tmp", filepath.Join(f.base.Dir, "fs/cache")); err != nil {
		t.Fatal(err)
	}
	out, err := sh(f.boot(t), "echo x > /tmp/inside/x; ls /tmp/inside", func(c *platforms.Cmd) {
		c.Caches = []platforms.Cache{{ID: "c", Dir: "/cache/inside"}}
	})
	if err != nil || out != "x" {
		t.Errorf("a cache behind a link: %q, %v", out, err)
	}
}
