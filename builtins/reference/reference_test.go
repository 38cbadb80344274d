package reference

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"bake.build/bake/builtins"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden file")

type toyOptions struct {
	Region string `bake:"region" json:"region,omitempty" help:"Where." choices:"north|south" default:"north"`
}

type origin struct {
	Disk   string `bake:"disk,path,origin" json:"disk,omitempty" help:"A disk."`
	SHA256 string `bake:"sha256" json:"sha256,omitempty" help:"Its digest."`
}

const library = `"""Toys for tests."""

def _install(m, packages, *, update = True, args = ["-q", 'x'], more = {}, **kwargs):
    """Installs packages.

    They come from the archive.

    Args:
      packages: their names
      update: whether the lists are
        renewed first

    Returns:
      the layer
    """
    return m

def plain(m, at = -1):
    return m

def _hidden(m):
    """Nobody sees this."""

apt = struct(install = _install, hidden = 3)
`

func write(t *testing.T, table []builtins.Builtin) string {
	t.Helper()
	book, err := Language(Sources{
		Builtins: table,
		Platforms: []platforms.Spec{platforms.Declare[toyOptions, origin]("toy", "A toy.", func(toyOptions, platforms.Host) (platforms.Driver, error) {
			return nil, errors.New("no driver")
		})},
		Formats: []export.Format{{Name: "raw", Doc: "The disk | as it is."}},
		Std:     fstest.MapFS{"toys.star": {Data: []byte(library)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return book.Markdown()
}

// TestWrite compares a small reference with a golden file; -update rewrites it.
func TestWrite(t *testing.T) {
	var table []builtins.Builtin
	for _, b := range builtins.Table() {
		if b.Name == "source" || b.Name == "read_file" || b.Name == "shell" {
			table = append(table, b)
		}
	}
	got := write(t, table)
	const golden = "testdata/reference.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got, run with -update if it should be so:\n%s", diff)
	}
}

// TestWhole holds that every builtin and each of its arguments is there.
func TestWhole(t *testing.T) {
	got := write(t, builtins.Table())
	for _, b := range builtins.Table() {
		_, section, ok := strings.Cut(got, "\n### "+b.Name+"\n")
		if !ok {
			t.Errorf("%s is missing", b.Name)
			continue
		}
		section, _, _ = strings.Cut(section, "\n### ")
		for _, a := range b.Args {
			if !strings.Contains(section, "| `"+a.Name+"` |") {
				t.Errorf("%s: %s is missing", b.Name, a.Name)
			}
		}
	}
}

func TestBrokenLibrary(t *testing.T) {
	_, err := Language(Sources{Std: fstest.MapFS{"x.star": {Data: []byte("def f(:")}}})
	if err == nil || !strings.Contains(err.Error(), "x.star:1:8") {
		t.Errorf("error %v", err)
	}
}
