package datafile

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxAliased is how many values the aliases of a YAML file may stand for: an alias
// repeats what its anchor has, and aliases of aliases grow without bound.
const maxAliased = 100_000

// ParseYAML reads a text that is one document of YAML; an empty one is an empty object.
// Keys that are numbers or booleans are taken for their text.
func ParseYAML(text []byte) (*Value, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	err := d.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return &Value{Kind: Object, Line: 1, Col: 1}, nil
	} else if err != nil {
		return nil, yamlError(err)
	}
	var next yaml.Node
	if err := d.Decode(&next); err == nil {
		return nil, errorAt(next.Line, max(next.Column, 1), "a second document begins, want one")
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(err)
	}
	r := &yamlReader{open: map[*yaml.Node]bool{}}
	return r.value(doc.Content[0], 0)
}

// yamlError finds the line in what the library says.
func yamlError(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		number, said, _ := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil {
			return errorAt(line, 1, "%s", said)
		}
	}
	return &Error{Err: errors.New(text)}
}

// A yamlReader turns nodes into values.
type yamlReader struct {
	open    map[*yaml.Node]bool // what aliases stand for that are being read
	aliased int
}

func (r *yamlReader) value(n *yaml.Node, depth int) (*Value, error) {
	if len(r.open) > 0 {
		if r.aliased++; r.aliased > maxAliased {
			return nil, errorAt(n.Line, n.Column, "aliases make more than %d values", maxAliased)
		}
	}
	if depth > maxDepth {
		return nil, errorAt(n.Line, n.Column, "lists and objects lie more than %d deep", maxDepth)
	}
	v := &Value{Line: n.Line, Col: n.Column}
	switch n.Kind {
	case yaml.AliasNode:
		if r.open[n.Alias] {
			return nil, errorAt(n.Line, n.Column, "the alias *%s is inside of what it stands for", n.Value)
		}
		r.open[n.Alias] = true
		defer delete(r.open, n.Alias)
		return r.value(n.Alias, depth)
	case yaml.SequenceNode:
		v.Kind = List
		for _, c := range n.Content {
			x, err := r.value(c, depth+1)
			if err != nil {
				return nil, err
			}
			v.Items = append(v.Items, x)
		}
		return v, nil
	case yaml.MappingNode:
		v.Kind = Object
		return v, r.fields(v, n, depth)
	}
	return v, scalar(v, n)
}

func (r *yamlReader) fields(v *Value, n *yaml.Node, depth int) error {
	known := map[string]bool{}
	var merged []*Value
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, content := n.Content[i], n.Content[i+1]
		x, err := r.value(content, depth+1)
		if err != nil {
			return err
		}
		if key.ShortTag() == "!!merge" {
			merged = append(merged, x)
			continue
		}
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			return errorAt(key.Line, key.Column, "a key is a list or a map, want a string")
		}
		if known[key.Value] {
			return errorAt(key.Line, key.Column, "the key %q is there twice", key.Value)
		}
		known[key.Value] = true
		v.Fields = append(v.Fields, Field{Name: key.Value, Value: x, Line: key.Line, Col: key.Column})
	}
	for _, m := range merged {
		from := []*Value{m}
		if m.Kind == List {
			from = m.Items
		}
		for _, o := range from {
			if o.Kind != Object {
				return errorAt(o.Line, o.Col, "<< takes a map, or a list of maps")
			}
			for _, f := range o.Fields {
				if !known[f.Name] {
					known[f.Name] = true
					v.Fields = append(v.Fields, f)
				}
			}
		}
	}
	return nil
}

// scalar puts into v what the scalar n stands for.
func scalar(v *Value, n *yaml.Node) error {
	bad := func() error { return errorAt(n.Line, n.Column, "%q is not %s", n.Value, n.ShortTag()) }
	switch n.ShortTag() {
	case "!!null":
		v.Kind = Null
	case "!!bool":
		var b bool
		if n.Decode(&b) != nil {
			return bad()
		}
		v.Kind, v.Text = Bool, strconv.FormatBool(b)
	case "!!int":
		var i int64
		if n.Decode(&i) != nil {
			return bad()
		}
		v.Kind, v.Text = Int, strconv.FormatInt(i, 10)
	case "!!float":
		var f float64
		if n.Decode(&f) != nil {
			return bad()
		}
		return v.float(f)
	default: // strings, dates, and what other tags say
		v.Kind, v.Text = String, n.Value
	}
	return nil
}

// float makes v the number f.
func (v *Value) float(f float64) error {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return errorAt(v.Line, v.Col, "%v is not a number of JSON", f)
	}
	v.Kind, v.Text = Float, FormatFloat(f)
	return nil
}

// FormatFloat writes f as JSON, with a point or an exponent.
func FormatFloat(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}
