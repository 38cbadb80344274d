package diag

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
	"github.com/google/go-cmp/cmp"
	"go.starlark.net/starlark"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var library = fstest.MapFS{
	"debian.star": {Data: []byte("def install(m, packages):\n    return each(m, packages)\n\ndef each(m, packages):\n    return shell(m, packages)\n\ndef _add(m, packages):\n    fail(\"packages: %r is not a name\" % packages)\n\nadd = _add\n")},
	"broken.star": {Data: []byte("x = nothing\n")},
}

// failed is what a step that failed looks like to this package.
type failed struct {
	error
	tail []string
	path string
}

func (f *failed) Unwrap() error           { return f.error }
func (f *failed) Log() ([]string, string) { return f.tail, f.path }
func (f *failed) Hint() string            { return "try --on-error=shell to look around" }

// shell is a step whose node fails later, at the position of the call.
func shell(nodes *[]*plan.Error) *starlark.Builtin {
	return starlark.NewBuiltin("shell", func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		if len(args) != 2 {
			return nil, errors.New(`shell: missing argument "command": want a string`)
		}
		*nodes = append(*nodes, &plan.Error{Pos: eval.Stack(thread), Err: errors.New("shell: exit status 2")})
		return starlark.None, nil
	})
}

// TestRender shows the errors of testdata/*.star; the golden files beside them
// hold what is seen. A definition that evaluates fails in its first step.
func TestRender(t *testing.T) {
	files, err := filepath.Glob("testdata/*.star")
	if err != nil || len(files) == 0 {
		t.Fatal("no definitions", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".star"), func(t *testing.T) {
			project, err := fail(t, file)
			var got bytes.Buffer
			if err := Render(&got, err, Options{Source: project.Source}); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".star")+".golden", got.String())
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got, run with -update if it should be so:\n%s", diff)
	}
}

// fail evaluates a copy of file and returns what went wrong.
func fail(t *testing.T, file string) (*eval.Project, error) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		"images.star":     string(text),
		"BAKE_ROOT":       "",
		"lib/macros.star": "def setup(m):\n    return shell(m, 'make install')\n\ndef wrong(m):\n    return shell(m)\n",
		"lib/syntax.star": "def f(:\n    pass\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	project, err := eval.OpenProject("images.star", dir)
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*plan.Error
	_, err = eval.Run(context.Background(), eval.Config{
		Project:     project,
		Std:         library,
		Predeclared: starlark.StringDict{"shell": shell(&nodes)},
		MaxSteps:    10_000,
	})
	if err == nil && len(nodes) > 0 {
		var tail []string
		for i := range 25 {
			tail = append(tail, fmt.Sprintf("output line %d", i+1))
		}
		err = &failed{error: nodes[0], tail: tail, path: "/cache/logs/3f2a/shell.log"}
	}
	if err == nil {
		t.Fatal("nothing went wrong")
	}
	return project, err
}

func TestPlainErrors(t *testing.T) {
	located := &plan.Error{Pos: []plan.Pos{{File: "a.star", Line: 3, Col: 2}}, Err: errors.New("copy: gone")}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"plain", errors.New("open store: no space left"), "error: open store: no space left\n"},
		{"located", located, "a.star:3:2: copy: gone\n"},
		{"wrapped", fmt.Errorf("build web: %w", located), "a.star:3:2: build web: copy: gone\n"},
		{"wrapped without a word", fmt.Errorf("%w", located), "a.star:3:2: copy: gone\n"},
		{"joined", errors.Join(located, errors.New("and more")), "a.star:3:2: copy: gone\n\nerror: and more\n"},
		{"joined and wrapped", fmt.Errorf("%w", errors.Join(located, located)), "a.star:3:2: copy: gone\n\na.star:3:2: copy: gone\n"},
		{"lines", errors.New("bad params:\na\nb"), "error: bad params:\n  a\n  b\n"},
		{"position unknown", &plan.Error{Err: errors.New("x")}, "error: x\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got bytes.Buffer
			if err := Render(&got, c.err, Options{}); err != nil {
				t.Fatal(err)
			}
			if got.String() != c.want {
				t.Errorf("got %q, want %q", got.String(), c.want)
			}
		})
	}
	if Of(nil) != nil {
		t.Error("no error has a diagnostic")
	}
}

func TestColor(t *testing.T) {
	var got bytes.Buffer
	if err := Render(&got, errors.New("x"), Options{Color: true}); err != nil {
		t.Fatal(err)
	}
	if want := "\x1b[1;31merror:\x1b[0m \x1b[1mx\x1b[0m\n"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}

// TestCaret holds that the caret is below its column whatever stands before.
func TestCaret(t *testing.T) {
	for _, c := range []struct {
		line string
		col  int
		want int
	}{
		{"abc", 1, 0}, {"abc", 3, 2}, {"\tabc", 2, 4}, {"é(x)", 2, 1}, {"日本(x)", 3, 4}, {"abc", 9, 3},
	} {
		if got := indent(c.line, c.col); got != c.want {
			t.Errorf("indent(%q, %d) = %d, want %d", c.line, c.col, got, c.want)
		}
	}
}
