package doc

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const sample = `"""Users of a machine.

` + "```python\nm = user(layer, \"a\")\n```" + `
"""

load("other.star", _group = "group")

# The number of the first user.
FIRST = 1000

def _remove(m, name, *, force = False, **options):
    """Removes a user,
    and what it has.

    Files stay.

    Args:
      m: the layer
        to change.
      name (string): the user.
      force: even when it
        runs something.
      **options: as for shell.

    Returns:
      A new layer.

    Example:
      m = user.remove(
          layer,
          "a",
      )
    """
    return m

def user(m, name): return m

def one_line(m):
    """Does nothing."""
    return m

users = struct(remove = _remove, group = _group, first = FIRST)
`

func parse(t *testing.T, name, text string) *File {
	t.Helper()
	f, err := Parse(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestParse(t *testing.T) {
	f := parse(t, "users.star", sample)
	if f.Doc.Summary != "Users of a machine." || len(f.Doc.Examples) != 1 || f.Doc.Examples[0].Line != 4 {
		t.Errorf("file: %+v", f.Doc)
	}
	other := parse(t, "other.star", "def group(m):\n    \"\"\"Makes a group.\"\"\"\n    return m\n")
	f.Link(func(from, name string) *File {
		if from != "users.star" || name != "other.star" {
			t.Errorf("%s loads %s", from, name)
		}
		return other
	})
	var names []string
	for _, s := range f.Symbols {
		names = append(names, s.Kind+" "+s.Name+" "+s.File)
	}
	if diff := cmp.Diff([]string{
		"value FIRST users.star", "function user users.star", "function one_line users.star",
		"function users.remove users.star", "function users.group other.star", "value users.first users.star",
	}, names); diff != "" {
		t.Errorf("symbols (-want +got):\n%s", diff)
	}
	if s := f.Symbols[0]; s.Value != "1000" || s.Doc.Summary != "The number of the first user." {
		t.Errorf("constant: %+v", s)
	}
	want := Docstring{
		Summary: "Removes a user, and what it has.", Text: "Files stay.", Returns: "A new layer.",
		Args: []Arg{
			{Name: "m", Help: "the layer\nto change."}, {Name: "name", Help: "the user."},
			{Name: "force", Help: "even when it\nruns something."}, {Name: "**options", Help: "as for shell."},
		},
		Examples: []Example{{Code: "m = user.remove(\n    layer,\n    \"a\",\n)\n", Line: 31}},
	}
	remove := f.Symbols[3]
	if diff := cmp.Diff(want, remove.Doc, cmpopts.IgnoreUnexported(Docstring{}, Arg{})); diff != "" {
		t.Errorf("docstring (-want +got):\n%s", diff)
	}
	if got := strings.Split(sample, "\n")[want.Examples[0].Line-1]; !strings.Contains(got, "user.remove(") {
		t.Errorf("the example begins in line %q", got)
	}
	if got := remove.Signature(); got != "users.remove(m, name, *, force = False, **options)" {
		t.Errorf("signature %s", got)
	}
	if diff := cmp.Diff([]string{"FIRST", "user", "one_line", "users"}, f.Loadable()); diff != "" {
		t.Errorf("loadable (-want +got):\n%s", diff)
	}
}

func TestCheck(t *testing.T) {
	f := parse(t, "x.star", `
def none(a):
    return a

def fine(a, *args, b = 1, **kwargs):
    """Does it.

    Args:
      a: one
      *args: two
      b: three
      **kwargs: four
    """

def wrong(layer, package, *args):
    """Does it.

    Args:
      layer: one
      pakage: two
      layer: again
      args: three
      zzz: four
    """
    return layer

def short(a):
    """Does it."""
    return a

def inner(a):
    """Returns nothing.

    Args:
      a: one
    """
    def f():
        return 1
    return

def _private(a):
    """Does it.

    More.
    """

def escaped(a):
    """Does it.

    Args:
      a: one

    Example:
      escaped("a\n")
    """

def raw(a):
    r"""Does it.

    Args:
      a: one

    Example:
      raw("a\n")
    """
`)
	want := []string{
		`x.star:2: none: no docstring`,
		`x.star:20: wrong: Args: there is no parameter pakage (did you mean package?)`,
		`x.star:21: wrong: Args: layer is documented twice`,
		`x.star:22: wrong: Args: there is no parameter args (write *args)`,
		`x.star:23: wrong: Args: there is no parameter zzz`,
		`x.star:16: wrong: Args: parameter package is not documented`,
		`x.star:16: wrong: Args: parameter *args is not documented`,
		`x.star:16: wrong: Returns: it returns a value, which is not documented`,
		"x.star:48: escaped: a \\n in the docstring ends the line there: begin the docstring with r\"\"\"",
	}
	var got []string
	for _, finding := range f.Check() {
		got = append(got, finding.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFree(t *testing.T) {
	got, err := Free("load('x', 'apt')\nm = apt.install(layer, [str(1), base])\nm = shell(m)\nlayer", func(name string) bool { return name == "shell" })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"layer", "base"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := Free("def f(:", nil); err == nil {
		t.Error("no error for what is no Starlark")
	}
}

// TestVisibility reads who may load a file.
func TestVisibility(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                  nil,
		`visibility("public")`:              nil,
		`visibility(["public"])`:            nil,
		`visibility("private")`:             {"private"},
		`visibility(to = ["//lib", "//x"])`: {"//lib", "//x"},
		`visibility([])`:                    {"private"},
		"us = \"//lib\"\nvisibility([us])":  {"us"},
		`other("private")`:                  nil,
	} {
		if diff := cmp.Diff(want, parse(t, "x.star", text+"\n").Visibility); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func FuzzDocstring(f *testing.F) {
	f.Add("Does it.\n\n  Args:\n    a: b\n  ```\n  Example:\n    x")
	f.Fuzz(func(t *testing.T, text string) {
		d := parseDocstring(text, 1)
		for _, e := range d.Examples {
			if e.Line < 1 || e.Line > strings.Count(text, "\n")+1 {
				t.Errorf("example at line %d", e.Line)
			}
		}
	})
}

// TestLink holds that a file which hands on what others define is documented by them.
func TestLink(t *testing.T) {
	parse := func(name, text string) *File {
		f, err := Parse(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	other := parse("other.star", "def _add(m):\n    \"\"\"Adds.\"\"\"\n\ndef addition():\n    \"\"\"Is another.\"\"\"\n\nusers = struct(add = _add, additional = _add)\n")
	f := parse("facade.star", "load(\"other.star\", \"addition\", _users = \"users\")\nusers = _users\nuser = _users.add\nservice = struct(more = _users.additional)\nlost = _users.lost\n")
	f.Link(func(_, name string) *File {
		if name != "other.star" {
			t.Errorf("asked for %s", name)
		}
		return other
	})
	var got []string
	for _, s := range f.Symbols {
		got = append(got, s.Kind+" "+s.Name+": "+s.Doc.Summary)
	}
	want := []string{"function users.add: Adds.", "function users.additional: Adds.", "function user: Adds.", "function service.more: Adds.", "value lost: "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
