package stdlib_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testbake"
	"bake.build/bake/platforms/identity"
	"bake.build/bake/stdlib"
)

// A recorder keeps the scripts that a macro gives to shell.
type recorder struct{ scripts []string }

// run evaluates an expression that may use what file defines. The layer "base"
// is a string, since macros only hand it on.
func (r *recorder) run(t *testing.T, file, expr string) error {
	t.Helper()
	src, err := fs.ReadFile(stdlib.FS, file)
	if err != nil {
		t.Fatal(err)
	}
	step := func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if b.Name() == "shell" {
			if s, ok := args[1].(starlark.String); ok {
				r.scripts = append(r.scripts, string(s))
			} else if l, ok := args[1].(*starlark.List); ok {
				var lines []string
				for v := range l.Elements() {
					lines = append(lines, string(v.(starlark.String)))
				}
				r.scripts = append(r.scripts, strings.Join(lines, "\n"))
			}
		}
		return args[0], nil
	}
	env := starlark.StringDict{
		"shell":       starlark.NewBuiltin("shell", step),
		"write":       starlark.NewBuiltin("write", step),
		"shell_local": starlark.NewBuiltin("shell_local", step),
		"copy":        starlark.NewBuiltin("copy", step),
		"struct":      starlark.NewBuiltin("struct", starlarkstruct.Make),
		"json":        json.Module,
		// Says who may load a file; here all do.
		"visibility": starlark.NewBuiltin("visibility", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
			return starlark.None, nil
		}),
	}
	opts := &syntax.FileOptions{Set: true, TopLevelControl: true}
	thread := new(starlark.Thread)
	thread.Load = func(_ *starlark.Thread, module string) (starlark.StringDict, error) {
		src, err := fs.ReadFile(stdlib.FS, strings.TrimPrefix(module, "@bake//"))
		if err != nil {
			return nil, err
		}
		return starlark.ExecFileOptions(opts, &starlark.Thread{Load: thread.Load}, module, src, env)
	}
	globals, err := starlark.ExecFileOptions(opts, thread, file, src, env)
	if err != nil {
		t.Fatal(err)
	}
	globals["base"] = starlark.String("base")
	_, err = starlark.EvalOptions(opts, thread, "expression", expr, globals)
	return err
}

// TestSameUnit holds that the unit that makes host keys is one and the same in
// a debian origin and in clean.
func TestSameUnit(t *testing.T) {
	unit, err := os.ReadFile("../platforms/rootfs/origin/ssh-host-keys.service")
	if err != nil {
		t.Fatal(err)
	}
	star, err := fs.ReadFile(stdlib.FS, "clean.star")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(star, append([]byte(`"""`), unit...)) {
		t.Error("_SSH_KEYS_UNIT of clean.star differs from ssh-host-keys.service")
	}
}

// TestDebianMachine runs every function on a real Debian.
func TestDebianMachine(t *testing.T) {
	need.Slow(t)
	need.Root(t)
	need.Tool(t, "mmdebstrap", "gpgv", "apt-get")
	dir, err := os.MkdirTemp("/var/tmp", "bake-stdlib-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(filepath.Join(dir, "project"), os.DirFS("testdata/debian")); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bake")
	if err := testbake.Build(bin); err != nil {
		t.Fatal(err)
	}
	t.Run("debian", func(t *testing.T) { bakeTest(t, bin, dir, "images.star") })
	testGolden(t, bin, dir)
}

// bakeTest runs the tests of a definition of the project in dir, whose layers are kept
// beside it.
func bakeTest(t *testing.T, bin, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, append([]string{"test", "--progress=plain", "--allow-local"}, args...)...)
	cmd.Dir = filepath.Join(dir, "project")
	cmd.Env = append(os.Environ(), "BAKE_CACHE_DIR="+filepath.Join(dir, "cache"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("bake test: %v\n%s", err, out[max(0, len(out)-8000):])
	}
}

// TestPackagesAreASet holds that sorting a list of packages rebuilds nothing.
func TestPackagesAreASet(t *testing.T) {
	r := &recorder{}
	for _, list := range []string{`["nginx-light", "curl", "exim4-"]`, `["exim4-", "curl", "nginx-light", "curl"]`} {
		if err := r.run(t, "debian.star", "apt.install(base, "+list+")"); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.scripts) != 2 || r.scripts[0] != r.scripts[1] || !strings.HasSuffix(r.scripts[0], "'curl' 'exim4-' 'nginx-light'\n") {
		t.Errorf("scripts differ: %q", r.scripts)
	}
}

// TestCleanTakesIdentity has the macro clean remove all that drivers take away, too.
func TestCleanTakesIdentity(t *testing.T) {
	need.Root(t)
	need.Tool(t, "unshare", "chroot")
	r := &recorder{}
	if err := r.run(t, "debian.star", `clean(base)`); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for name, text := range map[string]string{
		"etc/machine-id": "0123", "etc/systemd/system/ssh-host-keys.service": "", "etc/ssh/ssh_host_rsa_key": "secret", "etc/ssh/ssh_host_rsa_key.pub": "key",
		"etc/bin/apt-get": "#!/bin/sh\nexit 0\n", "usr/x": "", "dev/x": "", "tmp/x": "", "boot/efi/loader/random-seed": "x",
	} {
		writeIn(t, root, name, text)
	}
	made := 0
	for _, word := range regexp.MustCompile(`\s(var/[\w/.*-]+)`).FindAllStringSubmatch(identity.Script, -1) {
		writeIn(t, root, strings.ReplaceAll(word[1], "*", "x"), "secret")
		made++
	}
	const list = "take() { [ ! -s \"$1\" ] || echo \"$1\"; }; cd / && identity take"
	if before := inTree(t, root, identity.Script+list); strings.Count(before, "\n") < 15 || made < 15 {
		t.Fatalf("the tree has of the list only\n%s", before)
	}
	inTree(t, root, r.scripts[0])
	if after := inTree(t, root, identity.Script+list); after != "" {
		t.Errorf("clean leaves\n%s", after)
	}
	if id, err := os.ReadFile(filepath.Join(root, "etc/machine-id")); err != nil || len(id) != 0 {
		t.Errorf("the machine-id is %q, %v", id, err)
	}
}

func writeIn(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil && !errors.Is(err, syscall.EISDIR) {
		t.Fatal(err)
	}
}

// inTree runs a script on the files below root, with the programs of this host.
func inTree(t *testing.T, root, script string) string {
	t.Helper()
	const enter = `mount --make-rprivate / && mount --bind /usr "$0/usr" && mount --bind /dev "$0/dev" &&
for d in bin sbin lib lib64; do [ -e "$0/$d" ] || ln -s "usr/$d" "$0/$d"; done &&
exec chroot "$0" /bin/sh -c "PATH=/etc/bin:\$PATH; $1"`
	cmd := exec.Command("unshare", "--mount", "sh", "-c", enter, root, script)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return string(out)
}
