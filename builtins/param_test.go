package builtins

import (
	"errors"
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
		{"another choice", []string{"version=1", "level=x"}, "", nil, "", []string{`level (from -p): "x" is not a choice (choices: high, low)`}},
		{"bad choice in a list", []string{"version=1", "tags=a,c"}, "", nil, "", []string{`tags[1] (from -p): "c" is not a choice`}},
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
			if err != nil && strings.Contains(err.Error(), "low, high") && strings.Contains(err.Error(), "high, low") {
				t.Errorf("the choices are told twice: %v", err)
			}
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
		{"", "{", "params:1:2: unexpected end of JSON input"},
		{"", "a=1\nnot a line\n", "params:2:1: want KEY=VALUE, or a JSON object; YAML and TOML go by the end of the file's name"},
		{"", "a=\"open\n", "params:1:1: a quote is not closed"},
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
			for _, typ := range paramTypes {
				p := &Param{Name: name, Type: typ, schema: &schema{typ: typ}}
				v, err := p.parse(g)
				if err != nil {
					continue
				}
				if v, err = p.schema.conform("", v); err != nil {
					continue
				}
				back, err := p.schema.parseText(p.text(v))
				if err == nil {
					back, err = p.schema.conform("", back)
				}
				if typ != "any" && (err != nil || back.JSON() != v.JSON()) {
					t.Fatalf("%s %q: %s is written as %q, read as %v, %v", typ, text, v.JSON(), p.text(v), back, err)
				}
			}
		}
	})
}

const typedDefinition = `
images = param("images", type = "dict", help = "Images by name", of = {"fields": {
    "cpus": {"type": "int", "default": 2, "choices": [2, 4]},
    "ratio": {"type": "float", "default": 1},
    "region": "string",
    "tags": {"type": "list", "of": "string", "default": []},
    "owner": {"type": "string", "default": None},
    "labels": {"type": "dict", "default": {}},
}}, default = {"web": {"region": "eu"}})
sizes = param("sizes", default = [1, 2])
anything = param("anything", type = "any", default = {})
share = param("share", default = 0.5)
m = source(rootfs(), scratch = True)
write(m, "/out", repr([images, sizes, anything, share]))
`

// TestTypedParams gives maps, lists and numbers in every way.
func TestTypedParams(t *testing.T) {
	const defaults = `[{"web": {"region": "eu", "cpus": 2, "ratio": 1.0, "tags": [], "owner": None, "labels": {}}}, [1, 2], {}, 0.5]`
	for _, c := range []struct {
		name, file, text string
		args             []string
		want             string   // what the definition writes
		err              []string // or what its error says
	}{
		{name: "defaults", want: defaults},
		{name: "JSON", file: "p.json", text: `{"images": {"db": {"region": "us", "cpus": 4, "ratio": 2, "owner": null, "labels": {"a": [1, {"b": true}]}}}, "sizes": [], "anything": "x", "share": 1}`,
			want: `[{"db": {"region": "us", "cpus": 4, "ratio": 2.0, "owner": None, "labels": {"a": [1, {"b": True}]}, "tags": []}}, [], "x", 1.0]`},
		{name: "YAML", file: "p.yaml", text: "images:\n  db: {region: us, tags: [a]}\nsizes: [7]\n", want: `[{"db": {"region": "us", "tags": ["a"], "cpus": 2, "ratio": 1.0, "owner": None, "labels": {}}}, [7], {}, 0.5]`},
		{name: "TOML", file: "p.toml", text: "share = 0.25\n[images.db]\nregion = 'us'\ncpus = 4\n", want: `[{"db": {"region": "us", "cpus": 4, "ratio": 1.0, "tags": [], "owner": None, "labels": {}}}, [1, 2], {}, 0.25]`},
		{name: "command line", args: []string{`images={"a": {"region": "x"}}`, "sizes=3, 4", "share=2", "anything=[1]"},
			want: `[{"a": {"region": "x", "cpus": 2, "ratio": 1.0, "tags": [], "owner": None, "labels": {}}}, [3, 4], [1], 2.0]`},
		{name: "a field of the default", args: []string{"images.web.cpus=4", "images.web.tags=a,b", "images.web.labels.x.y=true"},
			want: `[{"web": {"region": "eu", "cpus": 4, "ratio": 1.0, "tags": ["a", "b"], "owner": None, "labels": {"x": {"y": True}}}}, [1, 2], {}, 0.5]`},
		{name: "a field of the file", file: "p.yaml", text: "images: {db: {region: us}}\nsizes: [7, 8]", args: []string{"images.db.region=x y", "images.new.region=z", "sizes.1=9"},
			want: `[{"db": {"region": "x y", "cpus": 2, "ratio": 1.0, "tags": [], "owner": None, "labels": {}}, "new": {"region": "z", "cpus": 2, "ratio": 1.0, "tags": [], "owner": None, "labels": {}}}, [7, 9], {}, 0.5]`},
		{name: "the whole after a field", args: []string{"sizes.0=5", "sizes=6"}, want: strings.Replace(defaults, "[1, 2]", "[6]", 1)},

		{name: "places", file: "p.json", text: "{\n  \"images\": {\n    \"db\": {\"region\": 1,\n      \"cpus\": 3, \"rigion\": \"us\"},\n    \"x\": {}\n  }\n}",
			err: []string{`p.json:3:22: images.db.region (from p.json): 1 is not a string`, `p.json:4:15: images.db.cpus (from p.json): 3 is not a choice (choices: 2, 4)`,
				`p.json:4:18: images.db (from p.json): no field "rigion" is declared (did you mean "region"?)`, `p.json:5:10: images.x (from p.json): the field "region" is missing, want string`}},
		{name: "place in YAML", file: "p.yml", text: "sizes:\n  - 1\n  - x\n", err: []string{`p.yml:3:5: sizes[1] (from p.yml): "x" is not an int`}},
		{name: "place in TOML", file: "p.toml", text: "[images]\n  web = {region = \"eu\", ratio = 'x'}\n", err: []string{`p.toml:2:33: images.web.ratio (from p.toml): "x" is not a float`}},
		{name: "syntax", file: "p.yaml", text: "a: 1\na: 2\n", err: []string{`p.yaml:2:1: the key "a" is there twice`}},
		{name: "no object", file: "p.json", text: " [1]", err: []string{"p.json:1:2: [1] is not an object of parameters"}},
		{name: "HCL", file: "p.pkrvars.hcl", text: "a = \"1\"\nimages = {\n", err: []string{"p.pkrvars.hcl:2:1: a map or a list of several lines: write the file as JSON, YAML or TOML"}},
		{name: "command line that is no JSON", args: []string{"images={a: 1}"}, err: []string{`images (from -p): "{a: 1}" is not JSON, such as {"key": 1}: column 2: invalid character 'a'`, "Images by name"}},
		{name: "command line of another type", args: []string{`images={"a": 1}`}, err: []string{`images.a (from -p): 1 is not a dict`}},
		{name: "number", args: []string{"share=1/2"}, err: []string{`share (from -p): "1/2" is not a number`}},
		{name: "no such field", args: []string{"images.web.cpu=4"}, err: []string{`images.web.cpu (from -p): no field "cpu" is declared (did you mean "cpus"?)`}},
		{name: "field of a number", args: []string{"share.x=4"}, err: []string{`share.x (from -p): "x" is a field of what has none: 0.5`}},
		{name: "no such element", args: []string{"sizes.2=4"}, err: []string{`sizes.2 (from -p): "2" is not an element: the list has 2, from 0`}},
		{name: "no such parameter", args: []string{"image.web.cpus=4"}, err: []string{`no parameter "image" (from -p) (did you mean "images"?)`}},
		{name: "no path", args: []string{"images.=4"}, err: []string{`-p images.=4: want name=value`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			given, err := ReadParams(c.args, c.file, []byte(c.text), nil)
			var d *Definition
			if err == nil {
				d, _, err = evaluate(t, "", typedDefinition, given)
			}
			for _, want := range c.err {
				if err == nil || !strings.Contains(allOf(err), want) {
					t.Errorf("error %v\nwant %s", allOf(err), want)
				}
			}
			if len(c.err) > 0 {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if w := reflect.ValueOf(d.Plan.Nodes[1].Op).Elem().FieldByName("Content").String(); w != c.want {
				t.Errorf("got  %s\nwant %s", w, c.want)
			}
		})
	}
}

// allOf is what all joined errors say.
func allOf(err error) string {
	if err == nil {
		return "no error"
	}
	text := ""
	for e := err; e != nil; e = errors.Unwrap(e) {
		text += e.Error() + "\n"
		if joined, ok := e.(interface{ Unwrap() []error }); ok {
			for _, one := range joined.Unwrap() {
				text += allOf(one)
			}
		}
	}
	return text
}

// TestParamIsACopy holds that a definition may change what it gets.
func TestParamIsACopy(t *testing.T) {
	_, _, err := evaluate(t, "", `
a = param("a", default = [1])
a.append(2)
d = param("d", default = {"x": {}})
d["x"]["y"] = 1
param("a", default = [1]) == [1] or fail("changed")
param("d", default = {"x": {}}) == {"x": {}} or fail("changed")
`, nil)
	if err != nil {
		t.Error(err)
	}
}
