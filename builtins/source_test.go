package builtins

import (
	"reflect"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"bake.build/bake/platforms"
)

// TestSourceNameHoldsNoPassword displays a source whose address has one.
func TestSourceNameHoldsNoPassword(t *testing.T) {
	d, _, err := evaluate(t, "", `source(rootfs(), disk = "https://user:s3cret@example.org/disk.qcow2")`, nil)
	if err != nil {
		t.Fatal(err)
	}
	name := d.Plan.Nodes[0].Name
	if strings.Contains(name, "s3cret") || !strings.Contains(name, "example.org/disk.qcow2") {
		t.Errorf("name %q", name)
	}
}

// TestFilesOfSources takes files as content, and as a list of such.
func TestFilesOfSources(t *testing.T) {
	path := func(o platforms.Option, v starlark.Value) (string, error) {
		if text, ok := starlark.AsString(v); ok && strings.Contains(text, "://") {
			return text, nil
		}
		return "", nil
	}
	for _, c := range []struct{ files, want, err string }{
		{`{"user-data": "a", "meta-data": ""}`, `{"http":{"meta-data":"","user-data":"a"}}`, ""},
		{`[{"a": "1"}, "folder/", {"b": "2"}]`, `{"http":{"a":"1","b":"2"}}`, ""},
		{`"folder/"`, `{}`, ""},
		{`[{"a": "1"}, {"a": "2"}]`, "", `the file "a" is given twice`},
		{`{"../a": "1"}`, "", `"../a" is not the name of a file`},
		{`"http://example.org/"`, "", "want a local path"},
		{`{"a": 1}`, "", `"a":`},
	} {
		v, err := starlark.EvalOptions(&syntax.FileOptions{}, &starlark.Thread{}, "", c.files, nil)
		if err != nil {
			t.Fatal(err)
		}
		options := platforms.Options(reflect.TypeFor[struct {
			HTTP platforms.Files `bake:"http" json:"http,omitempty" help:"Files."`
		}]())
		got, err := decodeOptions(options, []starlark.Tuple{{starlark.String("http"), v}}, path)
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v, want %q", c.files, err, c.err)
		} else if c.err == "" && (err != nil || string(got) != c.want) {
			t.Errorf("%s: %s, %v, want %s", c.files, got, err, c.want)
		}
	}
}
