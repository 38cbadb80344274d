package rootfs_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/rootfs"
)

// testHost lends directories below a temporary one.
type testHost struct{ dir string }

func (h testHost) TempDir(prefix string) (string, func() error, error) {
	dir, err := os.MkdirTemp(h.dir, prefix)
	if err == nil {
		err = os.Chmod(dir, 0o755) // as the store has it, for tools that drop their privileges
	}
	return dir, func() error { return os.RemoveAll(dir) }, err
}

func (h testHost) CacheDir(name string) (string, error) {
	dir := filepath.Join(h.dir, "caches", name)
	return dir, os.MkdirAll(dir, 0o755)
}

func (h testHost) Ledger() platforms.Ledger { return nil }

func (h testHost) Ask(context.Context, string) (string, error) {
	return "", errors.New("nobody to ask")
}

func (h testHost) Secret(s platforms.Secret) ([]byte, error) { return nil, errors.New("no secrets") }

// busybox returns the path of the host's busybox.
func busybox(t testing.TB) string {
	t.Helper()
	need.Tool(t, "busybox")
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// baseLayer fills dir with a layer that holds little more than busybox.
func baseLayer(t testing.TB, dir string) platforms.Layer {
	t.Helper()
	fs := filepath.Join(dir, "fs")
	for _, d := range []string{"bin", "etc", "root", "tmp", "home/ann", "var"} {
		if err := os.MkdirAll(filepath.Join(fs, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(fs, "tmp"), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	box := busybox(t)
	copyFile(t, box, filepath.Join(fs, "bin/busybox"))
	copyLibraries(t, box, fs)
	out, err := exec.Command(box, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(out)) {
		if name != "busybox" {
			if err := os.Symlink("busybox", filepath.Join(fs, "bin", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, content := range map[string]string{
		"etc/passwd":   "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n",
		"etc/group":    "root:x:0:\nann:x:1000:\nstaff:x:50:ann,root\naudio:x:29:ann\n",
		"etc/hostname": "golden\n",
	} {
		if err := os.WriteFile(filepath.Join(fs, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return platforms.Layer{Key: "base", Dir: dir}
}

// copyLibraries copies what a program is linked with; a static one has none.
func copyLibraries(t testing.TB, program, fs string) {
	t.Helper()
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return
	}
	for field := range strings.FieldsSeq(string(out)) {
		if !strings.HasPrefix(field, "/") {
			continue
		}
		to := filepath.Join(fs, field)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		copyFile(t, field, to)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// A fixture is a driver with a first layer.
type fixture struct {
	driver platforms.Driver
	host   testHost
	base   platforms.Layer
}

func newFixture(t testing.TB, options string) *fixture {
	t.Helper()
	need.Root(t)
	h := testHost{t.TempDir()}
	return &fixture{driver: newDriver(t, options, h), host: h, base: baseLayer(t, filepath.Join(h.dir, "base"))}
}

func newDriver(t testing.TB, options string, h testHost) platforms.Driver {
	t.Helper()
	d, err := rootfs.Spec().New(json.RawMessage(options), h)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (f *fixture) boot(t testing.TB, layers ...platforms.Layer) platforms.Machine {
	t.Helper()
	m, err := f.driver.Boot(context.Background(), append([]platforms.Layer{f.base}, layers...), &platformtest.Log{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func (f *fixture) commit(t testing.TB, m platforms.Machine, name string) platforms.Layer {
	t.Helper()
	dir := filepath.Join(f.host.dir, "layer-"+name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Commit(context.Background(), platforms.State{Dir: dir, Needed: true}); err != nil {
		t.Fatal(err)
	}
	return platforms.Layer{Key: name, Dir: dir}
}

// layerDir makes a directory as the store does for a layer.
func (f *fixture) layerDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(f.host.dir, "layer")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// sh runs a script and returns what it wrote.
func sh(m platforms.Machine, script string, opts ...func(*platforms.Cmd)) (string, error) {
	var out platformtest.Log
	c := platforms.Cmd{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out}
	for _, o := range opts {
		o(&c)
	}
	err := m.Run(context.Background(), c)
	return strings.TrimSpace(out.String()), err
}
