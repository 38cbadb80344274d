package datafile

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

// places lists the place of each value, by its path.
func placesIn(v *Value, path string, into map[string]string) {
	into[path] = fmt.Sprintf("%d:%d", v.Line, v.Col)
	for i, x := range v.Items {
		placesIn(x, fmt.Sprintf("%s[%d]", path, i), into)
	}
	for _, f := range v.Fields {
		placesIn(f.Value, path+"."+f.Name, into)
	}
}

const same = `{"region":"eu","count":3,"ratio":1.5,"on":true,"images":{"web":{"cpus":4,"tags":["a","b"]},"é\"":{}}}`

func TestSameInAllFormats(t *testing.T) {
	for name, text := range map[string]string{
		"x.json": "{\n  \"region\": \"eu\", \"count\": 3, \"ratio\": 1.5, \"on\": true,\n  \"images\": {\n    \"web\": {\"cpus\": 4, \"tags\": [\"a\", \"b\"]},\n    \"é\\\"\": {}\n  }\n}",
		"x.yml":  "region: eu\ncount: 3\nratio: 1.5\non: true\nimages:\n  web:\n    cpus: 4\n    tags: [a, b]\n  'é\"': {}\n",
		"x.TOML": "region = \"eu\"\ncount = 3\nratio = 1.5\non = true\n[images.web]\ncpus = 4\ntags = [\n  'a', \"b\",\n]\n[images.'é\"']\n",
	} {
		v, err := ParserOf(name)([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := v.JSON(); got != same {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want map[string]string
	}{
		"x.json": {"{\"é\": [1,\n  {\"b\" : null}]}", map[string]string{"": "1:1", ".é": "1:7", ".é[0]": "1:8", ".é[1]": "2:3", ".é[1].b": "2:10"}},
		"x.yaml": {"é:\n  - 1\n  - b: null\n", map[string]string{"": "1:1", ".é": "2:3", ".é[0]": "2:5", ".é[1]": "3:5", ".é[1].b": "3:8"}},
		"x.toml": {"'é' = [1, true,\n  {b = '''x'''}]\n[[t]]\nx.y = 2\n", map[string]string{
			"": "1:1", ".é": "1:1", ".é[0]": "1:8", ".é[1]": "1:11", ".é[2]": "2:3", ".é[2].b": "2:8", ".t": "3:3", ".t[0]": "3:3", ".t[0].x": "4:1", ".t[0].x.y": "4:7",
		}},
	} {
		v, err := ParserOf(name)([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := map[string]string{}
		placesIn(v, "", got)
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v\nwant %v", name, got, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"x.json", "{", "1:2: unexpected end of JSON input"},
		{"x.json", "", "1:1: unexpected end of JSON input"},
		{"x.json", "{\n  \"a\": tru\n}", "2:11: invalid character '\\n' in literal true (expecting 'e')"},
		{"x.json", "{}\n {}", "2:2: more follows"},
		{"x.json", strings.Repeat("[", 1002) + strings.Repeat("]", 1002), "1:1002: lists and objects lie more than 1000 deep"},
		{"x.yaml", "a: 1\nb: [", "2:1: did not find expected node content"},
		{"x.yaml", "a: 1\na: 2\n", "2:1: the key \"a\" is there twice"},
		{"x.yaml", "a: 1\n---\nb: 2\n", "a second document begins"},
		{"x.yaml", "a: &x [*x]\n", "1:8: the alias *x is inside of what it stands for"},
		{"x.yaml", "a: .inf", "1:4: +Inf is not a number of JSON"},
		{"x.yaml", "? [a]\n: 1\n", "1:3: a key is a list or a map"},
		{"x.yaml", "<<: 1\n", "1:5: << takes a map"},
		{"x.yaml", bomb(), "aliases make more than 100000 values"},
		{"x.toml", "a = 1\na = 2\nb = 1\n", "2:1: key a is already defined"},
		{"x.toml", "a = \n", "1:5: "},
		{"x.toml", "a = nan\n", "1:5: nan is not a number of JSON"},
	} {
		_, err := ParserOf(c.name)([]byte(c.text))
		var at *Error
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &at) {
			t.Errorf("%s %.40q: %v, want %s", c.name, c.text, err, c.want)
		}
	}
}

// bomb is a short text of very many values.
func bomb() string {
	text := "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
	for i := 1; i < 9; i++ {
		text += fmt.Sprintf("a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	return text
}

func TestYAMLKeysAndMerges(t *testing.T) {
	v, err := ParseYAML([]byte("base: &b {cpus: 1, name: x}\nweb:\n  <<: *b\n  cpus: 2\n80: 2024-01-02\ntrue: yes\nn: 0x10\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := v.JSON(), `{"base":{"cpus":1,"name":"x"},"web":{"cpus":2,"name":"x"},"80":"2024-01-02","true":"yes","n":16}`; got != want {
		t.Errorf("got %s", got)
	}
}

// FuzzParse holds that what is read is what the format's own library reads.
func FuzzParse(f *testing.F) {
	f.Add([]byte(same))
	f.Add([]byte("a:\n - b\n - {c: 1.5, d: null}\n"))
	f.Add([]byte("[a.b]\nc = [1, {d = 2}]\n[[e]]\nf.g = 'x'\n[[e]]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if v, err := ParseJSON(text); err == nil {
			sameData(t, text, v, json.Unmarshal)
		}
		if v, err := ParseTOML(text); err == nil && !strings.ContainsAny(string(text), ":") { // dates
			sameData(t, text, v, toml.Unmarshal)
		}
		if v, err := ParseYAML(text); err == nil {
			var x any
			if err := yaml.Unmarshal([]byte(v.JSON()), &x); err != nil {
				t.Errorf("%q: what was read is not YAML: %v", text, err)
			}
		}
	})
}

func sameData(t *testing.T, text []byte, v *Value, read func([]byte, any) error) {
	var want, got any
	if err := read(text, &want); err != nil {
		t.Fatalf("%q: read, and not by the library: %v", text, err)
	}
	if err := json.Unmarshal([]byte(v.JSON()), &got); err != nil {
		t.Fatalf("%q: %s is not JSON: %v", text, v.JSON(), err)
	}
	one, err1 := json.Marshal(want)
	two, err2 := json.Marshal(got)
	if err1 == nil && err2 == nil && string(one) != string(two) {
		t.Errorf("%q: got %s, want %s", text, two, one)
	}
}
