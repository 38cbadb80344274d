package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/all"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/lock"
	"bake.build/bake/starlark/module"
)

// teams is a copy of the example of teams whose registry is on loopback.
type teams struct {
	*testing.T
	dir  string
	host string
}

// bake runs a command in one of the example's folders.
func (e *teams) bake(folder string, args ...string) string {
	e.Helper()
	out, code := e.try(folder, args...)
	if code != exitOK {
		e.Fatalf("bake %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (e *teams) try(folder string, args ...string) (out string, code int) {
	var buf bytes.Buffer
	a := &app{
		specs: all.Table(), builtins: builtins.Table(), formats: export.Formats(),
		stdin: strings.NewReader(""), stdout: &buf, stderr: &buf,
		dir: filepath.Join(e.dir, folder), getenv: os.Getenv, environ: os.Environ,
	}
	code = a.main(e.Context(), args)
	return buf.String(), code
}

// TestTeams publishes the module of the example's platform team in two versions to a
// registry, and builds what the application teams load of it, with the same keys as
// from the copies in their vendor directories.
func TestTeams(t *testing.T) {
	t.Setenv("BAKE_CACHE_DIR", t.TempDir())
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	e := &teams{T: t, dir: t.TempDir(), host: strings.TrimPrefix(server.URL, "http://")}
	if err := copyWithModes(e.dir, "../../examples/teams"); err != nil {
		t.Fatal(err)
	}
	vendored := map[string]string{}
	for _, team := range []string{"shop", "billing"} {
		if *update && team == "shop" {
			continue
		}
		var err error
		if vendored[team], err = keysOf(t.Context(), filepath.Join(e.dir, team, "images.star")); err != nil && !*update {
			t.Fatal(err)
		}
	}
	first := "billing/bake.vendor/acme.example/golden@v1.0.0"
	e.bake(first, "mod", "publish", "oci://"+e.host+"/images/golden@v1.0.0")
	e.bake("platform", "mod", "publish", "oci://"+e.host+"/images/golden@v1.1.0")
	if out, code := e.try("platform", "mod", "publish", "oci://"+e.host+"/images/golden@v1.0.0"); code == exitOK || !strings.Contains(out, "v1.0.0") {
		t.Errorf("another v1.0.0 was published: %s", out)
	}
	for _, team := range []string{"shop", "billing"} {
		e.toLoopback(team)
		e.bake(team, "mod", "tidy")
		if *update {
			e.renew(team)
			continue
		}
		keys, err := keysOf(t.Context(), filepath.Join(e.dir, team, "images.star"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(vendored[team], keys); diff != "" || keys == "" {
			t.Errorf("%s: keys from the vendor directory and from the registry differ:\n%s", team, diff)
		}
		want, err := os.ReadFile(filepath.Join("../../examples/teams", team, lock.Name))
		if err != nil {
			t.Fatal(err)
		}
		if digest := digestLine(t, want); digest != digestLine(t, e.read(team, lock.Name)) {
			t.Errorf("%s: bake.lock of the example is not about what is published; -update renews it", team)
		}
		if !bytes.Contains(want, []byte(e.asked(team))) {
			t.Errorf("%s: bake.lock of the example is stale; -update renews it", team)
		}
	}
	e.newer()
	if out := e.bake("platform", "test"); !strings.Contains(out, "2 tests") {
		t.Errorf("tests of the platform team's module:\n%s", out)
	}
	if out := e.bake("shop", "doc", "@acme//golden.star"); !strings.Contains(out, "Makes a golden base") {
		t.Errorf("docs of the platform team's module:\n%s", out)
	}
	e.bake(".", "check", "shop", "billing", "platform")
}

// newer holds that the billing team is shown what the newer base changes, and that it
// gets that.
func (e *teams) newer() {
	file, err := lock.Load(filepath.Join(e.dir, "billing", lock.Name))
	if err != nil {
		e.Fatal(err)
	}
	file.Set("rootfs debian bookworm", platforms.Pin{ID: "sha256:" + strings.Repeat("0", 64)})
	if err := file.Save(e.Context()); err != nil {
		e.Fatal(err)
	}
	e.dryRun()
	out := e.bake("billing", "mod", "update")
	for _, want := range []string{"acme.example/golden  v1.0.0 → v1.1.0", "billing: ", "  images.star:8:20: kernel settings\n    is new\n"} {
		if !strings.Contains(out, want) {
			e.Errorf("bake mod update does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "script:") {
		e.Errorf("a step that is the same is shown as another:\n%s", out)
	}
	if strings.Contains(out, "plain") {
		e.Errorf("an image without the module changes:\n%s", out)
	}
	if text := string(e.read("billing", "bake.mod")); !strings.Contains(text, "v1.1.0") {
		e.Errorf("bake.mod:\n%s", text)
	}
	e.bake("billing", "mod", "verify")
}

// dryRun holds that bake mod update --dry-run writes nothing, though an origin that it
// has to look at has no pin yet.
func (e *teams) dryRun() {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "not looked into")
	}))
	defer origin.Close()
	definition := filepath.Join(e.dir, "billing", "loose.star")
	text := fmt.Sprintf("load(\"@acme//golden.star\", \"golden\")\n"+
		"export(golden(source(rootfs(), tar = \"%s/root.tar\")), \"loose\", formats = [\"tar\"])\n", origin.URL)
	if err := os.WriteFile(definition, []byte(text), 0o644); err != nil {
		e.Fatal(err)
	}
	before := e.read("billing", lock.Name)
	out := e.bake("billing", "mod", "update", "--dry-run")
	if !strings.Contains(out, "loose: ") || strings.Contains(out, "pinned") {
		e.Errorf("bake mod update --dry-run:\n%s", out)
	}
	if diff := cmp.Diff(string(before), string(e.read("billing", lock.Name))); diff != "" {
		e.Errorf("bake mod update --dry-run changes bake.lock:\n%s", diff)
	}
	if err := os.Remove(definition); err != nil {
		e.Fatal(err)
	}
}

// toLoopback makes a team's registry the one of the test, and removes what is vendored.
func (e *teams) toLoopback(team string) {
	if err := os.RemoveAll(filepath.Join(e.dir, team, "bake.vendor")); err != nil {
		e.Fatal(err)
	}
	for _, name := range []string{"bake.mod", lock.Name} {
		text := bytes.ReplaceAll(e.read(team, name), []byte("registry.example"), []byte(e.host))
		if len(text) == 0 {
			continue // there is no lock before the first -update
		}
		if err := os.WriteFile(filepath.Join(e.dir, team, name), text, 0o644); err != nil {
			e.Fatal(err)
		}
	}
}

// renew writes the lock and the vendor directory of a team into the example.
func (e *teams) renew(team string) {
	e.bake(team, "mod", "vendor")
	example := filepath.Join("../../examples/teams", team)
	text := bytes.ReplaceAll(e.read(team, lock.Name), []byte(e.host), []byte("registry.example"))
	if err := os.WriteFile(filepath.Join(example, lock.Name), text, 0o644); err != nil {
		e.Fatal(err)
	}
	file, err := lock.Load(filepath.Join(example, lock.Name))
	if err != nil {
		e.Fatal(err)
	}
	file.SetModules(&module.Lock{Asked: e.asked(team), Modules: file.Modules().Modules})
	if err := file.Save(e.Context()); err != nil {
		e.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(example, "bake.vendor")); err != nil {
		e.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(example, "bake.vendor"), os.DirFS(filepath.Join(e.dir, team, "bake.vendor"))); err != nil {
		e.Fatal(err)
	}
}

// asked returns the digest of what the example's bake.mod of a team asks for.
func (e *teams) asked(team string) string {
	text, err := os.ReadFile(filepath.Join("../../examples/teams", team, module.FileName))
	if err != nil {
		e.Fatal(err)
	}
	f, err := module.Parse(module.FileName, text)
	if err != nil {
		e.Fatal(err)
	}
	digest, err := module.Asked(f, func(module.Source) (*module.File, error) { return nil, errors.New("no folder is asked for") })
	if err != nil {
		e.Fatal(err)
	}
	return digest
}

func (e *teams) read(team, name string) []byte {
	text, err := os.ReadFile(filepath.Join(e.dir, team, name))
	if err != nil && !*update {
		e.Fatal(err)
	}
	return text
}

// digestLine returns the line of a lock with the digest of a tree.
func digestLine(t *testing.T, text []byte) string {
	t.Helper()
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `"digest"`) {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("no digest in %s", text)
	return ""
}
