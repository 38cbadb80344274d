package builtins

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

const paramDefinition = `
version = param("version", help = "Release stamped into the image")
debug = param("debug", default = False)
count = param("count", default = 3, help = "How many")
tags = param("tags", default = ["a"], choices = ["a", "b"])
level = param("level", default = "low", choices = ["low", "high"])
typed = param("typed", type = "int", default = None) if debug else None
m = source(rootfs(), scratch = True)
write(m, "/out", repr([version, debug, count, tags, level]))
`

func TestParams(t *testing.T) {
	for _, c := range []struct {
		name    string
		args    []string
		file    string
		environ []string
		want    string // what the definition writes
		err     []string
	}{
		{"defaults", []string{"version=1"}, "", nil, `["1", False, 3, ["a"], "low"]`, nil},
		{"text", []string{"version=1=2", "count= 7", "tags=b, a,", "level=high"}, "", nil, `["1=2", False, 7, ["b", "a"], "high"]`, nil},
		{"empty", []string{"version=", "tags="}, "", nil, `["", False, 3, [], "low"]`, nil},
		{"JSON", nil, `{"version": "2", "count": 4, "tags": [], "debug": false}`, nil, `["2", False, 4, [], "low"]`, nil},
		{"lines", nil, "# parameters\n\nversion = \"a b\"\nlevel='high'\ncount=5\n", nil, `["a b", False, 5, ["a"], "high"]`, nil},
		{"environment", nil, "", []string{"BAKE_PARAM_VERSION=9", "BAKE_PARAM_OTHER=1", "PATH=/"}, `["9", False, 3, ["a"], "low"]`, nil},
		{"precedence", []string{"version=arg"}, "version=file\ncount=8", []string{"BAKE_PARAM_VERSION=env", "BAKE_PARAM_COUNT=9", "BAKE_PARAM_LEVEL=high"}, `["arg", False, 8, ["a"], "high"]`, nil},

		{"missing", nil, "", nil, "", []string{`param: no value for "version": give one with -p version=…`, "Release stamped into the image"}},
		{"missing later", []string{"version=1", "debug=yes"}, "", nil, "", []string{`no value for "typed"`, "version (string): Release", "count (int, default 3): How many", `tags (list, default ["a"])`}},
		{"unknown", []string{"version=1", "verzion=2"}, "", nil, "", []string{`no parameter "verzion" (from -p) (did you mean "version"?)`, "\nparameters:\n  version (string): Release stamped into the image\n"}},
		{"unknown in the file", []string{"version=1"}, "zzz=1", nil, "", []string{`no parameter "zzz" (from params)`, "count (int, default 3)"}},
		{"bad int", []string{"version=1", "count=x"}, "", nil, "", []string{`param: count (from -p): "x" is not an integer`, "How many"}},
		{"bad bool", []string{"version=1", "debug=maybe"}, "", nil, "", []string{`debug (from -p): "maybe" is not true or false`}},
		{"bad choice", []string{"version=1", "level=hihg"}, "", nil, "", []string{`level (from -p): "hihg" is not a choice (did you mean "high"?)`, "one of low, high"}},
		{"bad choice in a list", []string{"version=1", "tags=a,c"}, "", nil, "", []string{`tags (from -p): "c" is not a choice`}},
		{"bad type in JSON", nil, `{"version": 2}`, nil, "", []string{`version (from params): 2 is not a string`}},
		{"null in JSON", nil, `{"version": null}`, nil, "", []string{`version (from params): null is not a string`}},
		{"fraction in JSON", nil, `{"version": "1", "count": 1.5}`, nil, "", []string{`count (from params): 1.5 is not an int`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := ""
			if c.file != "" {
				name = "params"
			}
			given, err := ReadParams(c.args, name, []byte(c.file), c.environ)
			if err != nil {
				t.Fatal(err)
			}
			d, _, err := evaluate(t, "", paramDefinition, given)
			if len(c.err) > 0 {
				for _, want := range c.err {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("error %v\nwant %s", err, want)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w := reflect.ValueOf(d.Plan.Nodes[1].Op).Elem().FieldByName("Content").String()
			if w != c.want {
				t.Errorf("got %s, want %s", w, c.want)
			}
		})
	}
}

func TestParamOfVariable(t *testing.T) {
	given, err := ReadParams(nil, "", nil, []string{"BAKE_PARAM_KEEPCASE=1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := evaluate(t, "", "param('keepCase') == '1' or fail('lost')", given); err != nil {
		t.Error(err)
	}
}

func TestReadParams(t *testing.T) {
	for _, c := range []struct {
		arg, file, want string
	}{
		{"version", "", "-p version: want name=value"},
		{"=1", "", "-p =1: want name=value"},
		{"", "{", "read params: unexpected end of JSON input"},
		{"", "a=1\nnot a line\n", "read params: line 2: want KEY=VALUE, or a JSON object"},
		{"", "a=\"open\n", "read params: line 1: a quote is not closed"},
	} {
		var args []string
		if c.arg != "" {
			args = []string{c.arg}
		}
		if _, err := ReadParams(args, "params", []byte(c.file), nil); err == nil || err.Error() != c.want {
			t.Errorf("%q %q: %v, want %s", c.arg, c.file, err, c.want)
		}
	}
}

func FuzzReadParams(f *testing.F) {
	f.Add([]byte(`{"a": 1, "b": [true]}`))
	f.Add([]byte("a=1\n# b\nc='d'\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		params, err := ReadParams(nil, "file", text, nil)
		if err != nil {
			return
		}
		for name, g := range params {
			for _, typ := range []string{"string", "bool", "int", "list"} {
				p := &Param{Name: name, Type: typ}
				if x, err := p.parse(g); err == nil && x == nil {
					t.Fatalf("%s %q: no value and no error", typ, text)
				}
			}
			if g.Value != nil && !json.Valid(g.Value) {
				t.Fatalf("%q is not JSON", g.Value)
			}
		}
	})
}
