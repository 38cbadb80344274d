package eval

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

// tree makes the tree of a module.
func tree(t *testing.T, name string, files map[string]string) *Tree {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &Tree{Root: dir, Name: name, Loads: map[string]*Tree{}}
}

// TestModules loads a diamond: two modules load a third, by different names.
func TestModules(t *testing.T) {
	p := project(t, map[string]string{
		"images.star": `
load("@net//net.star", "net")
load("@users//users.star", "users")
load("lib/own.star", "own")
result = [net, users, own]
`,
		"lib/own.star": `load("//lib/x.star", "x")
own = "project " + x`,
		"lib/x.star": `x = "x"`,
	})
	base := tree(t, "@base", map[string]string{
		"base.star":  `load("lib/x.star", "x")` + "\n" + `seen = []` + "\nprint('evaluated')\nbase = 'base ' + x",
		"lib/x.star": `load("//top.star", "top")` + "\nx = top",
		"top.star":   `top = "of base"`,
	})
	net := tree(t, "@net", map[string]string{"net.star": `load("@b//base.star", "base")` + "\nnet = base"})
	users := tree(t, "@users", map[string]string{"users.star": `load("@foundation//base.star", "base")` + "\nusers = base"})
	net.Loads["b"], users.Loads["foundation"] = base, base
	p.Tree.Loads = map[string]*Tree{"net": net, "users": users}

	printed := 0
	globals, err := Run(context.Background(), Config{Project: p, Print: printTo(&printed)})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := globals["result"].String(), `["base of base", "base of base", "project x"]`; got != want {
		t.Errorf("result = %s, want %s", got, want)
	}
	if printed != 1 {
		t.Errorf("the shared file was evaluated %d times", printed)
	}
	if _, err := p.Source("@base//lib/x.star"); err != nil {
		t.Error(err)
	}
	place, ok := p.Place("@base//lib/x.star")
	if !ok || place.Dir != filepath.Join(base.Root, "lib") || place.Tree != base {
		t.Errorf("place %+v, %v", place, ok)
	}
}

// TestModuleErrors loads what a module does not show. pos is where that is told.
func TestModuleErrors(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret.star")
	if err := os.WriteFile(outside, []byte("x = 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, main, want, pos string
		files                 map[string]string // of the module @acme
	}{
		{name: "private name", main: "load('@acme//a.star', '_x')", files: map[string]string{"a.star": "_x = 1"},
			want: `names with leading underscores are not exported: _x`, pos: ""},
		{name: "missing file", main: "load('@acme//golde.star', 'x')", files: map[string]string{"golden.star": "x = 1"},
			want: `no file "golde\.star" in @acme \(did you mean "golden\.star"\?\)`, pos: "images.star:1"},
		{name: "misspelt module", main: "load('@acne//a.star', 'x')", want: `@acne is not known \(did you mean @acme\?\)`, pos: "images.star:1"},
		{name: "unknown module", main: "load('@network//a.star', 'x')", want: `@network is not known: bake mod add network=…`, pos: "images.star:1"},
		{name: "a module of the project in a module", main: "load('@acme//a.star', 'x')", files: map[string]string{"a.star": "load('@acme//b.star', 'x')"},
			want: `@acme is not known`, pos: "@acme//a.star:1"},
		{name: "file of the project", main: "load('@acme//a.star', 'x')", files: map[string]string{"a.star": "load('//images.star', 'x')"},
			want: `no file or directory "//images\.star" in @acme`, pos: "@acme//a.star:1"},
		{name: "escape", main: "load('@acme//../x.star', 'x')", want: `is not the name of a file of a module`, pos: "images.star:1"},
		{name: "escape from within", main: "load('@acme//a.star', 'x')", files: map[string]string{"a.star": "load('../../x.star', 'x')"},
			want: `"\.\./\.\./x\.star" leads out of @acme$`, pos: "@acme//a.star:1"},
		{name: "escape by a link", main: "load('@acme//a.star', 'x')", files: map[string]string{"a.star": "load('link.star', 'x')", "link.star": "-> " + outside},
			want: `"link\.star" leads out of @acme: it is a link to `, pos: "@acme//a.star:1"},
		{name: "cycle", main: "load('@acme//a.star', 'x')", files: map[string]string{"a.star": "load('b.star', 'x')", "b.star": "load('a.star', 'x')"},
			want: `load cycle: @acme//a\.star → @acme//b\.star → @acme//a\.star`, pos: "@acme//b.star:1"},
		{name: "private file", main: "load('@acme//in/a.star', 'x')", files: map[string]string{"in/a.star": "visibility('private')\nx = 1"},
			want: `@acme//in/a\.star may not be loaded from here: its visibility is private`, pos: "images.star:1"},
		{name: "file for its module", main: "load('@acme//in/a.star', 'x')", files: map[string]string{"in/a.star": "visibility(['//...'])\nx = 1"},
			want: `its visibility is //\.\.\.`, pos: "images.star:1"},
		{name: "file for another directory", main: "load('@acme//a.star', 'x')", files: map[string]string{"a.star": "load('in/b.star', 'x')", "in/b.star": "visibility(['//lib/...', '-//lib/old'])"},
			want: `@acme//in/b\.star may not be loaded from here: its visibility is //lib/\.\.\., -//lib/old`, pos: "@acme//a.star:1"},
		{name: "visibility in a function", main: "def f():\n    visibility('public')\nf()", want: `call it at the top of a file`, pos: "images.star:2"},
		{name: "visibility of a library's helper", main: "load('@acme//a.star', 'x')\nx()", files: map[string]string{"a.star": "def x():\n    visibility('public')"},
			want: `call it at the top of a file`, pos: "@acme//a.star:2"},
		{name: "visibility twice", main: "visibility('public')\nvisibility('public')", want: `called twice`, pos: "images.star:2"},
		{name: "visibility of nothing known", main: "visibility(['lib'])", want: `"lib": want "public", "private", or packages`, pos: "images.star:1"},
		{name: "visibility with a dot", main: "visibility(['//lib/../x'])", want: `want "public"`, pos: "images.star:1"},
		{name: "public beside others", main: "visibility(['public', '//lib'])", want: `"public" stands alone`, pos: "images.star:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := project(t, map[string]string{"images.star": c.main})
			files := map[string]string{}
			for name, text := range c.files {
				if _, link := strings.CutPrefix(text, "-> "); !link {
					files[name] = text
				}
			}
			acme := tree(t, "@acme", files)
			for name, text := range c.files {
				if to, link := strings.CutPrefix(text, "-> "); link {
					if err := os.Symlink(to, filepath.Join(acme.Root, name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			p.Tree.Loads = map[string]*Tree{"acme": acme}
			p.Tree.Unknown = func(name string) string { return "bake mod add " + name + "=…" }
			_, err := Run(context.Background(), Config{Project: p, Predeclared: visibilityFunction()})
			if err == nil || !regexp.MustCompile(c.want).MatchString(err.Error()) {
				t.Fatalf("error %v, want %s", err, c.want)
			}
			if frames := Frames(err); c.pos != "" && (len(frames) == 0 || !strings.HasPrefix(frames[0].String(), c.pos+":")) {
				t.Errorf("at %v, want %s", frames, c.pos)
			}
		})
	}
}

// TestVisible loads what may be loaded.
func TestVisible(t *testing.T) {
	p := project(t, map[string]string{
		"images.star":     "load('lib/a.star', 'a')\nload('top.star', 'top')\nresult = a + top",
		"top.star":        "visibility('private')\ntop = 1",
		"lib/a.star":      "load('deep/b.star', 'b')\nload('same.star', 'same')\na = b + same",
		"lib/same.star":   "visibility([])\nsame = 10",
		"lib/deep/b.star": "visibility(['//lib/...', '-//lib/old'])\nb = 100",
	})
	globals, err := Run(context.Background(), Config{Project: p, Predeclared: visibilityFunction()})
	if err != nil {
		t.Fatal(err)
	}
	if got := globals["result"].String(); got != "111" {
		t.Errorf("result %s", got)
	}
}

func printTo(n *int) func(plan.Pos, string) { return func(plan.Pos, string) { *n++ } }

// visibilityFunction is the builtin visibility without its reference.
func visibilityFunction() starlark.StringDict {
	return starlark.StringDict{"visibility": starlark.NewBuiltin("visibility", func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		var specs []string
		if text, ok := starlark.AsString(args[0]); ok {
			specs = []string{text}
		} else {
			for v := range starlark.Elements(args[0].(starlark.Iterable)) {
				text, _ := starlark.AsString(v)
				specs = append(specs, text)
			}
		}
		return starlark.None, SetVisibility(thread, specs)
	})}
}

// TestNested has a module below another: its files are no files of the outer one,
// whatever leads to them.
func TestNested(t *testing.T) {
	p := project(t, map[string]string{"images.star": "", "a/b/bake.mod": "", "a/b/x.star": "", "a/x.star": ""})
	for link, target := range map[string]string{"link.star": "a/b/x.star", "dir": "a/b"} {
		if err := os.Symlink(target, filepath.Join(p.Root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a/b/x.star", "//a/b", "//a/b/bake.mod", "link.star", "dir/x.star", "a/../a/b/x.star"} {
		_, err := p.Top().Path(name)
		if !errors.Is(err, ErrNested) || !errors.Is(err, ErrOutside) || !strings.Contains(err.Error(), "//a/b has a bake.mod, and so is a module of its own: bake mod add file:a/b requires it") {
			t.Errorf("Path(%q): %v, want that it is of another module", name, err)
		}
	}
	if _, err := p.Top().Path("a/x.star"); err != nil {
		t.Error(err)
	}
}
