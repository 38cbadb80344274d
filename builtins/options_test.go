package builtins

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/quick"

	"bake.build/bake/platforms"
	"go.starlark.net/starlark"
)

// refuse takes no option that names a file.
func refuse(o platforms.Option, _ starlark.Value) (string, error) {
	return "", errors.New(o.Name + " is not for here")
}

func keywords(pairs ...any) []starlark.Tuple {
	var kwargs []starlark.Tuple
	for i := 0; i < len(pairs); i += 2 {
		kwargs = append(kwargs, starlark.Tuple{starlark.String(pairs[i].(string)), pairs[i+1].(starlark.Value)})
	}
	return kwargs
}

// TestCanonical holds that what is equal to the user is equal in the key.
func TestCanonical(t *testing.T) {
	options := toySpec("toy").Origin
	list := starlark.NewList([]starlark.Value{starlark.String("b"), starlark.String("a")})
	for _, c := range []struct {
		name   string
		kwargs []starlark.Tuple
		want   string
	}{
		{"order", keywords("level", starlark.MakeInt(1), "debian", starlark.String("x")), `{"debian":"x","level":1}`},
		{"zero values", keywords("level", starlark.MakeInt(0), "scratch", starlark.False, "packages", starlark.NewList(nil), "sha256", starlark.String("")), `{}`},
		{"None", keywords("level", starlark.None), `{}`},
		{"sizes", keywords("size", starlark.String("4096M"), "wait", starlark.String("60s")), `{"wait":"1m0s","size":"4G"}`},
		{"a list keeps its order", keywords("packages", list), `{"packages":["b","a"]}`},
		{"a tuple is a list", keywords("packages", starlark.Tuple{starlark.String("b")}), `{"packages":["b"]}`},
	} {
		got, err := decodeOptions(options, c.kwargs, refuse)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v; want %s", c.name, got, err, c.want)
		}
	}
}

// TestOptionsRoundTrip holds that what the driver decodes is what was given.
func TestOptionsRoundTrip(t *testing.T) {
	options := toySpec("toy").Origin
	err := quick.Check(func(debian, sha string, packages []string, level int32, scratch bool) bool {
		want := toyOrigin{Debian: valid(debian), SHA256: valid(sha), Level: int(level), Scratch: scratch}
		list := starlark.NewList(nil)
		for _, p := range packages {
			want.Packages = append(want.Packages, valid(p))
			if list.Append(starlark.String(valid(p))) != nil {
				return false
			}
		}
		if want.Debian == "" {
			want.Debian = "x"
		}
		text, err := decodeOptions(options, keywords(
			"debian", starlark.String(want.Debian), "sha256", starlark.String(want.SHA256), "packages", list,
			"level", starlark.MakeInt(want.Level), "scratch", starlark.Bool(scratch)), refuse)
		var got toyOrigin
		if err != nil || json.Unmarshal(text, &got) != nil {
			return false
		}
		again, err := json.Marshal(want)
		return err == nil && string(again) == string(text) && reflect.DeepEqual(got, want)
	}, nil)
	if err != nil {
		t.Error(err)
	}
}

func valid(s string) string { return strings.ToValidUTF8(s, "?") }

// FuzzOptions decodes keywords of any name and value: whatever is accepted is
// JSON that the platform's struct takes, and decodes to the same JSON again.
func FuzzOptions(f *testing.F) {
	f.Add("debian", "bookworm", 0, uint8(0))
	f.Add("size", "4G", 0, uint8(0))
	f.Add("wait", "90s", 0, uint8(0))
	f.Add("level", "", 7, uint8(1))
	f.Add("packages", "a", 0, uint8(2))
	f.Add("scratch", "", 1, uint8(3))
	f.Add("tags", "\xff", 1, uint8(4))
	f.Add("region", "north", 1, uint8(0))
	spec := toySpec("toy")
	options := append(spec.Origin, spec.Options...)
	type both struct {
		toyOrigin
		toyOptions
	}
	f.Fuzz(func(t *testing.T, name, text string, number int, shape uint8) {
		var v starlark.Value
		switch shape % 5 {
		case 0:
			v = starlark.String(text)
		case 1:
			v = starlark.MakeInt(number)
		case 2:
			v = starlark.NewList([]starlark.Value{starlark.String(text), starlark.String(text)})
		case 3:
			v = starlark.Bool(number%2 == 0)
		case 4:
			d := starlark.NewDict(1)
			if err := d.SetKey(starlark.String(text), starlark.String(text)); err != nil {
				t.Fatal(err)
			}
			v = d
		}
		got, err := decodeOptions(options, keywords(name, v), refuse)
		if err != nil {
			return
		}
		var x both
		if err := json.Unmarshal(got, &x); err != nil {
			t.Fatalf("%s = %s: %s: %v", name, v, got, err)
		}
		again, err := json.Marshal(x)
		if err != nil || string(again) != string(got) {
			t.Fatalf("%s = %s: %s decodes to %s, %v", name, v, got, again, err)
		}
	})
}

func TestDedent(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"one line", "one line"},
		{"  one line", "  one line"},
		{"\n    a\n      b\n    c\n  ", "a\n  b\nc\n"},
		{"\n\ta\n\t\tb\n", "a\n\tb\n"},
		{"a\n    b", "a\n    b"},
		{"\n    a\n\n    b\n", "a\n\nb\n"},
		{"\n    a\n  \n    b\n", "a\n\nb\n"},
		{"\n\ta\n    b\n", "\ta\n    b\n"},
		{"", ""},
		{"\n", ""},
	} {
		if got := dedent(c.in); got != c.want {
			t.Errorf("dedent(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"#!/bin/sh\n# what\nset -eux\nexport A=1\n\n  apt-get   update \\\n  -q", "apt-get update"},
		{"# nothing", "script"},
	} {
		if got := firstCommand(c.in); got != c.want {
			t.Errorf("firstCommand(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	if got := shorten(strings.Repeat("é", 61)); got != strings.Repeat("é", 59)+"…" {
		t.Errorf("shorten: %q", got)
	}
	for _, o := range []StepOptions{{}, {Name: "a \x1b[31mred\r\xff é"}} {
		if got := o.title("a \x1b[31mred\r\xff é"); got != "a [31mred\uFFFD é" {
			t.Errorf("title of %+v: %q", o, got)
		}
	}
}
