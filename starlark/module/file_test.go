package module

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"go.starlark.net/syntax"
)

const someFile = `# What our images are made of.
module("acme.example/images")

require(
    "acme.example/golden",  # the platform team's
    "v1.4.0",
    name = "acme",
    source = "oci://registry.example/images/golden",
)
require("acme.example/net/v2", "v2.1.0", source = "git+ssh://git@git.example/net.git")
require("acme.example/lib", source = "file:../lib")
require("acme.example/next", "main", source = "git+https://git.example/next")

replace("acme.example/golden", source = "file:../golden")
replace("acme.example/net/v2", only = "v2.0.0", version = "v2.0.1", source = "git+https://git.example/fork")
exclude("acme.example/net/v2", "v2.0.3")
`

func TestParse(t *testing.T) {
	f, err := Parse("bake.mod", []byte(someFile))
	if err != nil {
		t.Fatal(err)
	}
	if f.Path != "acme.example/images" || strings.Join(f.Names(), " ") != "acme net lib next" {
		t.Errorf("path %q, names %q", f.Path, f.Names())
	}
	r := f.Require("acme")
	if r == nil || r.Path != "acme.example/golden" || r.Version != "v1.4.0" || r.Source.Kind != OCI || r.Pos.Line != 4 {
		t.Errorf("requirement %+v", r)
	}
	if len(f.Replaces) != 2 || f.Replaces[1].Only != "v2.0.0" || f.Replaces[1].Version != "v2.0.1" || len(f.Excludes) != 1 {
		t.Errorf("replaces %+v, excludes %+v", f.Replaces, f.Excludes)
	}
}

// TestParseErrors has what is wrong, at which line and column, and what is said of it.
func TestParseErrors(t *testing.T) {
	const m = "module('acme.example/images')\n"
	for text, want := range map[string]string{
		"":                                  `^bake\.mod:1:1: module\(\) is missing`,
		"module('a.example/x'":              `^bake\.mod:1:21: got end of file`,
		"x = 1":                             `^bake\.mod:1:1: bake\.mod holds calls of module, require, replace and exclude`,
		"load('x', 'y')":                    `holds calls of`,
		"def f():\n  pass":                  `holds calls of`,
		"modul('x')":                        `^bake\.mod:1:1: bake\.mod knows no function "modul" \(did you mean "module"\?\)`,
		"module()":                          `path is missing`,
		"module('a' + 'b')":                 `path: want a string as it stands, since bake\.mod is read and not run`,
		"module('Acme/x')":                  `^bake\.mod:1:8: module: module path "Acme/x": want elements of small letters`,
		"module('a/../b')":                  `want elements of`,
		"module('a//b')":                    `want elements of`,
		"module('a/b.')":                    `want elements of`,
		"module('bake/debian')":             `what begins with "bake" is shipped with bake`,
		"module('a/b/v1')":                  `the last element is a major version, want v2 or higher, or none`,
		"module('a/b/v02')":                 `the last element is a major version`,
		m + m:                               `^bake\.mod:2:1: module: it is there twice; the first is at line 1`,
		m + "require('a/b')":                `^bake\.mod:2:1: require: source is missing`,
		m + "require('a/b', soruce = 'x')":  `^bake\.mod:2:16: require: unknown keyword "soruce" \(did you mean "source"\?\)`,
		m + "require('a/b', 'v1.0.0', 'x')": `too many arguments by position`,
		m + "require('a/b', path = 'a/c', source = 'file:x')":                                                          `path: given twice`,
		m + "require('a/b', source = 'oci://h/r')":                                                                     `^bake\.mod:2:25: require: version is missing: only a local folder has none`,
		m + "require('a/b', 'v1.0.0', source = 'file:x')":                                                              `a local folder is taken as it is, without a version`,
		m + "require('a/b', '1.0.0', source = 'oci://h/r')":                                                            `^bake\.mod:2:16: require: version "1\.0\.0": want "v1\.0\.0"`,
		m + "require('a/b', 'v1.0', source = 'oci://h/r')":                                                             `version "v1\.0": want all three numbers and nothing behind them, "v1\.0\.0"`,
		m + "require('a/b', 'v1.0.0+x', source = 'oci://h/r')":                                                         `"v1\.0\.0"`,
		m + "require('a/b', 'v2.0.0', source = 'oci://h/r')":                                                           `major version 2 has the path "a/b/v2"`,
		m + "require('a/b/v3', 'v2.0.0', source = 'oci://h/r')":                                                        `major version 2 has the path "a/b/v2"`,
		m + "require('a/b/v3', 'v1.0.0', source = 'oci://h/r')":                                                        `major version 1 has the path "a/b"`,
		m + "require('a/b', 'v1.0.0', source = 'oci//h/r')":                                                            `^bake\.mod:2:35: require: source "oci//h/r"`,
		m + "require('a/b', '-x', source = 'oci://h/r')":                                                               `want a semantic version such as`,
		m + "require('a/b', 'v1.0.0', name = 'bake', source = 'oci://h/r')":                                            `name "bake" is that of the shipped library`,
		m + "require('a/b', 'v1.0.0', name = 'x//y', source = 'oci://h/r')":                                            `name "x//y": want small letters`,
		m + "require('a/b', 'v1.0.0', source = 'oci://h/r')\nrequire('c/b', 'v1.0.0', source = 'oci://h/s')":           `^bake\.mod:3:1: require: @b is also the name of a/b, at line 2`,
		m + "require('a/b', 'v1.0.0', source = 'oci://h/r')\nrequire('a/b', 'v1.1.0', name='c', source = 'oci://h/s')": `a/b is there twice; the first is at line 2`,
		m + "require('acme.example/images', 'v1.0.0', source = 'oci://h/r')":                                           `is this module itself`,
		m + "exclude('a/b', 'main')":                                                                                   `want a semantic version`,
		m + "replace('a/b', source = 'file:x')\nreplace('a/b', source = 'file:y')":                                     `a/b is replaced twice; the first is at line 2`,
		m + "\xff": `not UTF-8`,
	} {
		_, err := Parse("bake.mod", []byte(text))
		if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestEdit holds that an edit changes what it is about and nothing else.
func TestEdit(t *testing.T) {
	f, err := Parse("bake.mod", []byte(someFile))
	if err != nil {
		t.Fatal(err)
	}
	r := *f.Require("acme")
	r.Version = "v1.5.0"
	newer, err := f.With(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(newer.Text()), strings.Replace(someFile, `"v1.4.0"`, `"v1.5.0"`, 1); got != want {
		t.Errorf("newer version:\n%s", got)
	}
	r.Source, err = ParseSource("oci://mirror.example/golden")
	if err != nil {
		t.Fatal(err)
	}
	moved, err := f.With(r)
	if err != nil || !strings.Contains(string(moved.Text()), "require(\n    \"acme.example/golden\",\n    \"v1.5.0\",\n    name = \"acme\",\n    source = \"oci://mirror.example/golden\",\n)\nrequire(\"acme.example/net/v2\"") {
		t.Errorf("%v:\n%s", err, moved.Text())
	}
	more, err := f.With(Require{Name: "users", Path: "acme.example/users", Version: "v0.1.0", Source: r.Source})
	if err != nil || !strings.Contains(string(more.Text()), "git.example/next\")\n\nrequire(\n    \"acme.example/users\",\n    \"v0.1.0\",\n    source = \"oci://mirror.example/golden\",\n)\n\nreplace(") {
		t.Errorf("%v:\n%s", err, more.Text())
	}
	less, err := more.Without("acme.example/users")
	if err != nil || string(less.Text()) != someFile {
		t.Errorf("%v:\n%s", err, less.Text())
	}
	if _, err := f.Without("acme.example/none"); err == nil {
		t.Error("a requirement that is not there was removed")
	}
	first, err := Parse("bake.mod", New("acme.example/images"))
	if err != nil {
		t.Fatal(err)
	}
	if first, err = first.With(r); err != nil || first.Require("acme") == nil {
		t.Errorf("%v: %s", err, first.Text())
	}
}

func TestNewest(t *testing.T) {
	versions := []string{"v1.2.0", "v1.10.0", "v1.9.0", "v2.0.0", "v1.11.0-rc.1", "main", "v2.1.0-rc.2", "v2.1", "1.99.0"}
	for path, want := range map[string]string{"a/b": "v1.10.0", "a/b/v2": "v2.0.0", "a/b/v3": ""} {
		if got := Newest(path, versions); got != want {
			t.Errorf("newest of %s: %q, want %q", path, got, want)
		}
	}
	if got := Newest("a/b", []string{"v1.0.0-rc.2", "v1.0.0-rc.10"}); got != "v1.0.0-rc.10" {
		t.Errorf("newest prerelease: %s", got)
	}
}

// FuzzParse holds that what is read is whole, that its text gives the same again, and
// that an edit of it is read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(someFile))
	f.Add([]byte("\ufeffmodule('a/b')\r\nrequire('c/d', 'v1.0.0', source = 'oci://h/r')\r\n"))
	f.Add([]byte("module(path = r'a/b'); require('c/é', source='file:x')"))
	f.Add([]byte("'''doc'''\nmodule('a')\nrequire('ä'"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse("bake.mod", text)
		if err != nil {
			var syn syntax.Error
			if errors.As(err, &syn) && (syn.Pos.Line < 1 || syn.Pos.Filename() != "bake.mod") {
				t.Fatalf("error at %v", syn.Pos)
			}
			return
		}
		if err := CheckPath(file.Path); err != nil {
			t.Fatal(err)
		}
		src, err := ParseSource("oci://h/added")
		if err != nil {
			t.Fatal(err)
		}
		added, err := file.With(Require{Name: "added-by-test", Path: "added.example/by-test", Version: "v1.2.3", Source: src})
		if err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		if len(added.Requires) < len(file.Requires) || added.Require("added.example/by-test").Version != "v1.2.3" {
			t.Fatalf("added to %q: %q", text, added.Text())
		}
		for _, r := range file.Requires {
			if r.Version == "" {
				continue
			}
			changed, err := file.With(Require{Name: r.Name, Path: r.Path, Version: "other", Source: r.Source})
			if err != nil || changed.Require(r.Path).Version != "other" || len(changed.Requires) != len(file.Requires) {
				t.Fatalf("changed %s: %v: %q", r.Path, err, text)
			}
		}
	})
}
