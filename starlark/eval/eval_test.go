package eval

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"bake.build/bake/runtime/plan"
	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
)

func project(t *testing.T, files map[string]string) *Project {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files)
	p, err := OpenProject("images.star", dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

var std = fstest.MapFS{
	"debian.star":   {Data: []byte("load('util.star', 'twice')\nload('//deep/x.star', 'x')\napt = twice(x)\ndef crash():\n    fail('in the library')\n")},
	"util.star":     {Data: []byte("def twice(n):\n    return 2 * n\n")},
	"deep/x.star":   {Data: []byte("x = 21\n")},
	"secret/.x":     {Data: []byte("")},
	"escaping.star": {Data: []byte("load('../outside.star', 'x')\n")},
}

func TestLoad(t *testing.T) {
	p := project(t, map[string]string{
		"images.star":  "load('lib/a.star', 'a', 'events')\nload('//lib/b.star', b2='b')\nload('@bake//debian.star', 'apt')\nload('//lib/a.star', again='a')\nresult = [a, b2, apt, len(events)]\n",
		"lib/a.star":   "load('b.star', 'b')\na = b + 1\nevents = ['evaluated']\n",
		"lib/b.star":   "b = 1\n",
		"BAKE_ROOT":    "",
		"lib/not.star": "fail('not loaded')\n",
	})
	globals, err := Run(context.Background(), Config{Project: p, Std: std})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := globals["result"].String(), "[2, 1, 42, 1]"; got != want {
		t.Errorf("result = %s, want %s", got, want)
	}
	var read []string
	for _, f := range p.Files() {
		rel, err := filepath.Rel(p.Root, f)
		if err != nil {
			t.Fatal(err)
		}
		read = append(read, filepath.ToSlash(rel))
	}
	if got, want := strings.Join(read, " "), "images.star lib/a.star lib/b.star"; got != want {
		t.Errorf("read %s, want %s", got, want)
	}
	if text, err := p.Source("@bake//util.star"); err != nil || !strings.Contains(string(text), "twice") {
		t.Errorf("Source of a library's file: %q, %v", text, err)
	}
}

// TestErrors evaluates definitions that fail. want matches the message, pos
// is the innermost position.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		text  string
		files map[string]string
		want  string
		pos   string
	}{
		{name: "missing file", text: "load('lib/hardning.star', 'x')",
			files: map[string]string{"lib/hardening.star": ""},
			want:  `cannot load lib/hardning\.star: no file or directory "lib/hardning\.star" \(did you mean "hardening\.star"\?\)`, pos: "images.star:1"},
		{name: "missing folder", text: "\nload('//libs/hardening.star', 'x')",
			files: map[string]string{"lib/hardening.star": ""},
			want:  `\(did you mean "lib"\?\)`, pos: "images.star:2"},
		{name: "missing file, none near", text: "load('lib/x.star', 'x')",
			files: map[string]string{"lib/hardening.star": "", "lib/users.star": ""},
			want:  `\(there are: hardening\.star, users\.star\)`, pos: "images.star:1"},
		{name: "missing name", text: "load('a.star', 'hardn')", files: map[string]string{"a.star": "harden = 1"},
			want: `name hardn not found in module a\.star \(did you mean harden\?\)`, pos: "images.star:1"},
		{name: "missing name, near a private one", text: "load('a.star', 'hardn')", files: map[string]string{"a.star": "_hardn = 1\nharden = 1"},
			want: `name hardn not found in module a\.star \(did you mean harden\?\)`, pos: "images.star:1"},
		{name: "misspelt library", text: "load('@bkae//debian.star', 'a')", want: `@bkae is not known \(did you mean @bake\?\)`, pos: "images.star:1"},
		{name: "cycle", text: "load('a.star', 'a')", files: map[string]string{"a.star": "load('b.star', 'b')\na = 1", "b.star": "\nload('a.star', 'a')\nb = 1"},
			want: `load cycle: a\.star → b\.star → a\.star`, pos: "b.star:2"},
		{name: "loads itself", text: "load('images.star', x='a')\na = 1",
			want: `load cycle: images\.star → images\.star`, pos: "images.star:1"},
		{name: "escape", text: "load('../x.star', 'a')", want: `"\.\./x\.star" leads out of the project`, pos: "images.star:1"},
		{name: "escape from the root", text: "load('//lib/../../x.star', 'a')", want: `leads out of the project`, pos: "images.star:1"},
		{name: "absolute", text: "load('/etc/passwd', 'a')", want: `leads out of the project, whose root is /.*: it is absolute`, pos: "images.star:1"},
		{name: "empty", text: "load('', 'a')", want: `the path is empty`, pos: "images.star:1"},
		{name: "a folder", text: "load('lib', 'a')", files: map[string]string{"lib/x": ""}, want: `is a directory`, pos: "images.star:1"},
		{name: "library of another team", text: "load('@acme//x.star', 'a')", want: `@acme is not known$`, pos: "images.star:1"},
		{name: "library without a file", text: "load('@bake', 'a')", want: `two slashes: "@bake//x\.star"`, pos: "images.star:1"},
		{name: "library's missing file", text: "load('@bake//debain.star', 'a')", want: `no file "debain\.star" in @bake \(did you mean "debian\.star"\?\)`, pos: "images.star:1"},
		{name: "library's escape", text: "load('@bake//../x.star', 'a')", want: `is not the name of a file`, pos: "images.star:1"},
		{name: "escape in a library", text: "load('@bake//escaping.star', 'a')", want: `is not the name of a file`, pos: "@bake//escaping.star:1"},
		{name: "undefined", text: "a = 1\nb = rootfz()", want: `undefined: rootfz \(did you mean rootfs\?\)`, pos: "images.star:2"},
		{name: "undefined, universal", text: "x = lenn('')", want: `undefined: lenn \(did you mean len\?\)`, pos: "images.star:1"},
		{name: "undefined, known elsewhere", text: "x = aws()", want: `undefined: aws \(comes later\)`, pos: "images.star:1"},
		{name: "undefined, loaded misspelt", text: "load('@bake//debian.star',\n  'atp')\nx = apt.install()", want: `undefined: apt \(line 2 loads "atp": one of them is misspelt\)$`, pos: "images.star:3"},
		{name: "recursion", text: "def f(n):\n    return f(n)\nf(1)", want: `function f called recursively`, pos: "images.star:2"},
		{name: "while", text: "while True:\n    pass", want: `does not support while`, pos: "images.star:1"},
		{name: "syntax", text: "a = (1\nb = ]", want: `got identifier, want '\)'`, pos: "images.star:2"},
		{name: "endless", text: "for i in range(1000000):\n    for j in range(1000000):\n        pass", want: `evaluation stopped after 100000 steps`, pos: "images.star:"},
		{name: "endless in a module", text: "load('a.star', 'a')", files: map[string]string{"a.star": "a = [0 for i in range(1000000)]"},
			want: `evaluation stopped after 100000 steps`, pos: "a.star:1"},
		{name: "long range", text: "x = max(range(1000000000000))", want: `1000000000000 elements are more than 10000000`, pos: "images.star:1"},
		{name: "long list", text: "x = [0] * 1000000000", want: `1 elements repeated 1000000000 times are more than 4000000`, pos: "images.star:1:9"},
		{name: "long string", text: "x = 'abc'\nx = 1000000000 * x", want: `3 bytes repeated 1000000000 times`, pos: "images.star:2"},
		{name: "long string, right", text: "x = 1000000000 * 'abc'", want: `3 bytes repeated 1000000000 times are more than 67108864`, pos: "images.star:1"},
		{name: "long list, augmented", text: "def f():\n    x = [1, 2]\n    x *= 1 << 100\nf()", want: `2 elements repeated`, pos: "images.star:3"},
		{name: "bad operands", text: "x = None * 3", want: `unknown binary op: NoneType \* int`, pos: "images.star:1"},
		{name: "frozen", text: "load('a.star', 'a')\na.append(1)", files: map[string]string{"a.star": "a = []"}, want: `frozen list`, pos: "images.star:2"},
		{name: "no clock", text: "x = time.now()", want: `undefined: time`, pos: "images.star:1"},
		{name: "no environment", text: "x = getenv('HOME')", want: `undefined: getenv`, pos: "images.star:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := map[string]string{"images.star": c.text, "BAKE_ROOT": ""}
			for k, v := range c.files {
				files[k] = v
			}
			_, err := Run(context.Background(), Config{
				Project:     project(t, files),
				Std:         std,
				MaxSteps:    100_000,
				Predeclared: starlark.StringDict{"rootfs": starlark.None},
				Undefined: func(name string) string {
					if name == "aws" {
						return "comes later"
					}
					return ""
				},
			})
			if err == nil {
				t.Fatal("no error")
			}
			if !regexp.MustCompile(c.want).MatchString(err.Error()) {
				t.Errorf("error %q does not match %q", err, c.want)
			}
			if pos := where(err); !strings.HasPrefix(pos, c.pos) {
				t.Errorf("error at %s, want %s: %v", pos, c.pos, err)
			}
		})
	}
}

// TestHintOfRoot holds that a name from the project's root that is missing comes with
// what the root is, where nothing marks one.
func TestHintOfRoot(t *testing.T) {
	files := map[string]string{"lib/web.star": "", "lib/web_test.star": "load('//lib/web.star', 'web')"}
	for _, marked := range []bool{false, true} {
		dir, name := t.TempDir(), "lib/no_test.star"
		if marked {
			files["BAKE_ROOT"] = ""
		}
		files[name] = "load('//lib/no.star', 'web')"
		write(t, dir, files)
		if real, err := filepath.EvalSymlinks(dir); err != nil {
			t.Fatal(err)
		} else {
			dir = real
		}
		p, err := OpenProject(filepath.Join(dir, name), dir)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Run(t.Context(), Config{Project: p})
		h := interface{ Hint() string }(nil)
		if !errors.As(err, &h) {
			t.Fatalf("no hint in %v", err)
		}
		if got := strings.Contains(h.Hint(), filepath.Join(dir, "lib")+": no directory above has a bake.mod"); got == marked {
			t.Errorf("with a root marked: %t: hint %q", marked, h.Hint())
		}
	}
}

// where returns the innermost position of an error.
func where(err error) string {
	var located *plan.Error
	var list resolve.ErrorList
	switch frames := Frames(err); {
	case errors.As(err, &located):
		return located.Pos[0].String()
	case errors.As(err, &list):
		return list[0].Pos.String()
	case len(frames) > 0:
		return frames[0].String()
	}
	return err.Error() // a syntax.Error begins with its position
}

func TestLinkOutOfProject(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "x.star"), []byte("x = 1"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := project(t, map[string]string{"images.star": "load('in.star', 'x')", "BAKE_ROOT": ""})
	if err := os.Symlink(filepath.Join(outside, "x.star"), filepath.Join(p.Root, "in.star")); err != nil {
		t.Skip("needs symbolic links:", err)
	}
	_, err := Run(context.Background(), Config{Project: p})
	if err == nil || !strings.Contains(err.Error(), ErrOutside.Error()) {
		t.Errorf("error %v, want that the link %v", err, ErrOutside)
	}
}

// TestGarbage makes more garbage than it may have memory. It comes
// before TestMemory, which may leave operations behind.
func TestGarbage(t *testing.T) {
	runtime.GC() // the heap is as in a fresh process, whatever other tests left
	_, err := Run(context.Background(), Config{
		Project:   project(t, map[string]string{"images.star": "def f():\n    for i in range(600):\n        x = 'x' * 1000000\nf()\n"}),
		MaxMemory: 128 << 20,
	})
	if err != nil {
		t.Error(err)
	}
}

// TestMemory runs definitions that would take all memory, with the step limit
// out of the way. Each has to be stopped long before.
func TestMemory(t *testing.T) {
	for name, text := range map[string]string{
		"extended":     "def f():\n    x = [0]\n    for i in range(40):\n        x.extend(x)\nf()\n",
		"strings":      "x = []\nfor i in range(100):\n    x.append('x' * 50000000)\n",
		"comprehended": "x = [[0] * 1000 for i in range(10000000)]\n",
		"shown":        "def f():\n    x = ['x' * 1000]\n    for i in range(40):\n        x = [x, x]\n    return x\ny = str(f())\n",
	} {
		t.Run(name, func(t *testing.T) {
			const limit = 32 << 20
			start := time.Now()
			_, err := Run(context.Background(), Config{
				Project:   project(t, map[string]string{"images.star": text}),
				MaxMemory: limit,
				MaxSteps:  1 << 40,
			})
			if !IsLimit(err) || !strings.Contains(err.Error(), "more than 32 MiB of memory") {
				t.Errorf("error %v, want that memory ran out", err)
			}
			if took := time.Since(start); took > 3*time.Minute {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestMultiply holds that bounded multiplication is multiplication.
func TestMultiply(t *testing.T) {
	globals, err := Run(context.Background(), Config{Project: project(t, map[string]string{"images.star": `
def f(x, y):
    x *= y
    return x
got = [2 * 3, 2.0 * 3, 'ab' * 2, 2 * 'ab', [1] * 2, (1, 2) * 2, b'x' * 3, 'x' * -1, [] * 1000000000000, f(2, 3), f([1], 2), f('x', 2)]
want = [6, 6.0, 'abab', 'abab', [1, 1], (1, 2, 1, 2), b'xxx', '', [], 6, [1, 1], 'xx']
`})})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := globals["got"].String(), globals["want"].String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := Run(ctx, Config{
		Project:  project(t, map[string]string{"images.star": "for i in range(10000000):\n    for j in range(10000000):\n        pass"}),
		MaxSteps: 1 << 60,
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	if pos := where(err); !strings.HasPrefix(pos, "images.star:") {
		t.Errorf("stopped at %s", pos)
	}
}

func TestPrint(t *testing.T) {
	var got []string
	_, err := Run(context.Background(), Config{
		Project: project(t, map[string]string{"images.star": "def f(x):\n    print('x is', x)\nf(1)\n"}),
		Print:   func(pos plan.Pos, text string) { got = append(got, fmt.Sprint(pos, " ", pos.Func, " ", text)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "images.star:2:10 f x is 1"; len(got) != 1 || got[0] != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestRoot(t *testing.T) {
	for _, c := range []struct {
		name       string
		files      map[string]string
		definition string
		want       string
	}{
		{"marker", map[string]string{"a/BAKE_ROOT": "", "a/b/images.star": ""}, "a/b/images.star", "a"},
		{"lock", map[string]string{"a/bake.lock": "", "a/b/images.star": ""}, "a/b/images.star", "a"},
		{"repository", map[string]string{".git/HEAD": "", "a/b/images.star": ""}, "a/b/images.star", "."},
		{"nearest", map[string]string{".git/HEAD": "", "a/bake.lock": "", "a/b/images.star": ""}, "a/b/images.star", "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.files["images.star"] = ""
			dir := project(t, c.files).cwd
			p, err := OpenProject(c.definition, dir)
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Join(dir, c.want); p.Root != want {
				t.Errorf("root %s, want %s", p.Root, want)
			}
		})
	}
}

func TestOpenProject(t *testing.T) {
	dir := project(t, map[string]string{"images.star": "", "sub/x": ""}).cwd
	for _, c := range []struct{ name, want string }{
		{"image.star", `did you mean "images\.star"\?`},
		{"sub", `is a directory`},
		{"none/images.star", `no file`},
	} {
		if _, err := OpenProject(c.name, dir); err == nil || !regexp.MustCompile(c.want).MatchString(err.Error()) {
			t.Errorf("OpenProject(%q): %v, want %s", c.name, err, c.want)
		}
	}
}

// FuzzJoin holds that no name leads out of the root.
func FuzzJoin(f *testing.F) {
	for _, s := range []string{"a", "//a", "../a", "a/../../b", "//../x", "/etc", "...", "a//b", "\\..\\x", "//"} {
		f.Add(s)
	}
	p := &Project{Root: filepath.FromSlash("/project/root")}
	p.Tree = &Tree{Root: p.Root}
	f.Fuzz(func(t *testing.T, name string) {
		abs, err := p.Top().In(filepath.Join(p.Root, "sub")).Join(name)
		if err == nil && abs != p.Root && !strings.HasPrefix(abs, p.Root+string(filepath.Separator)) {
			t.Fatalf("%q leads to %s", name, abs)
		}
	})
}
