package format

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bake.build/bake/starlark/files"
)

func TestSource(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"spaces and commas", "x=f( 1,2 )\ny=[\n1,\n2]\n", "x = f(1, 2)\ny = [\n    1,\n    2,\n]\n"},
		{"no line end", "x = 1", "x = 1\n"},
		{"blank lines", "x = 1\n\n\n\n\ny = 2\n\n", "x = 1\n\ny = 2\n"},
		{"order stays", "load('b', 'z', 'a')\nload('a', 'y')\nf(b = 1, a = 2)\n", "load(\"b\", \"z\", \"a\")\nload(\"a\", \"y\")\n\nf(b = 1, a = 2)\n"},
		{"quotes", `x = 'it\'s' + 'say "hi"' + r'\d' + '''a` + "\n" + `b'''`, `x = "it's" + 'say "hi"' + r"\d" + """a` + "\n" + `b"""` + "\n"},
		{"not ASCII", "x = 'grün ←'\n", "x = \"grün ←\"\n"},
		{"escapes", `x = 'a\tb\x41\u00e9\\'` + "\n", `x = "a\tb\x41\u00e9\\"` + "\n"},
		{"tabs", "def f(x):\n\tif x:\n\t\treturn '\ta'\n\t# c\n\treturn 1\n", "def f(x):\n    if x:\n        return \"\ta\"\n\n    # c\n    return 1\n"},
		{"text in lines", "x = '''\n\ta\n  b\n'''\n", "x = \"\"\"\n\ta\n  b\n\"\"\"\n"},
		{"CRLF and BOM", "\ufeffx=1\r\ny=2\r\n", "x = 1\ny = 2\n"},
		{"comments", "#one\nx = [ # two\n1, # three\n# four\n]\n", "#one\nx = [\n    # two\n    1,  # three\n    # four\n]\n"},
		{"parentheses", "x = (a + b) * c\ny = not (a and b)\n", "x = (a + b) * c\ny = not (a and b)\n"},
		{"operators", "x = a if b else c\ny = [i for i in x if i]\nz = lambda v, *w: v\nx += 1 // 2 << 3\n", "x = a if b else c\ny = [i for i in x if i]\nz = lambda v, *w: v\nx += 1 // 2 << 3\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Source("x.star", []byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestErrors holds that nothing is formatted which would change, or whose meaning is
// not known.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"syntax", "x = 1\ny = (1\n", "x.star:3:1: got end of file, want ')'"},
		{"while", "def f():\n    while True:\n        pass\n", "x.star:2:11: cannot format this: syntax error near True"},
		{"meaning", "\nx = not not 1 >= 1\n", "x.star:2:1: cannot format this file: its meaning would change from this line on"},
		{"depth", "x = " + strings.Repeat("1 + ", 20_000) + "1", "x.star:1:1: cannot format this: it is nested more than 10000 levels deep"},
		{"size", strings.Repeat("#", MaxSize+1), "x.star:1:1: 1048577 bytes are more than 1048576"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Source("x.star", []byte(c.in))
			if err == nil {
				t.Fatalf("got %q", got)
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestOfRepository holds that the examples and the library are formatted.
func TestOfRepository(t *testing.T) {
	for _, path := range repository(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Source(path, text)
		if err != nil {
			t.Error(err)
		} else if diff := cmp.Diff(string(text), string(got)); diff != "" {
			t.Errorf("bake fmt changes %s:\n%s", path, diff)
		}
	}
}

// repository returns the files of the examples and of the library.
func repository(t testing.TB) []string {
	t.Helper()
	root := filepath.Join("..", "..")
	found, err := files.Find(root, []string{"examples", "stdlib"}, files.IsStarlark)
	if err != nil || len(found) < 10 {
		t.Fatal(found, err)
	}
	return found
}

// FuzzSource looks whether what is formatted stays as it is when it is formatted once
// more, and has the content that it had.
func FuzzSource(f *testing.F) {
	for _, path := range repository(f) {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("def f(a, *, b = 'x'):\n\treturn {a: b for a in b if not a} # c\n\nx = (1,)\nx[1:2], y = -1, r'\\'\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		once, err := Source("x.star", text)
		if err != nil {
			return
		}
		twice, err := Source("x.star", once)
		if err != nil {
			t.Fatalf("%v\n%s", err, once)
		}
		if diff := cmp.Diff(string(once), string(twice)); diff != "" {
			t.Errorf("formatted again:\n%s", diff)
		}
	})
}
