package datafile

import (
	"errors"
	"math"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// ParseTOML reads a document of TOML 1.0. Dates and times are strings.
func ParseTOML(text []byte) (*Value, error) {
	// The parser of expressions does not know what a document may not say twice.
	var whole map[string]any
	if err := toml.Unmarshal(text, &whole); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, col := at.Position()
			return nil, errorAt(line, col, "%s", strings.TrimPrefix(err.Error(), "toml: "))
		}
		return nil, defined(text, err)
	}
	r := newTOMLReader(text)
	root := &Value{Kind: Object, Line: 1, Col: 1}
	table := root
	for r.p.NextExpression() {
		switch e := r.p.Expression(); e.Kind {
		case unstable.KeyValue:
			if err := r.keyValue(table, e, 0); err != nil {
				return nil, err
			}
		case unstable.Table:
			table = r.table(root, e.Key())
		case unstable.ArrayTable:
			table = r.element(root, e.Key())
		}
	}
	return root, r.p.Error()
}

// A tomlReader reads a text that is known to be a document of TOML.
type tomlReader struct {
	p unstable.Parser
	places
}

func newTOMLReader(text []byte) *tomlReader {
	r := &tomlReader{places: placesOf(text)}
	r.p.Reset(text)
	return r
}

// defined gives err, that a key or a table is there twice, the place of the second one:
// the end of the shortest document that is wrong.
func defined(text []byte, err error) error {
	r := newTOMLReader(text)
	var lines []int // on which expressions begin
	for r.p.NextExpression() {
		if e := r.p.Expression(); e.Kind == unstable.KeyValue || e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
			key := e.Key()
			key.Next()
			lines = append(lines, r.key(key.Node()).Line)
		}
	}
	i := sort.Search(max(len(lines)-1, 0), func(i int) bool {
		var whole map[string]any
		return toml.Unmarshal(text[:r.lines[lines[i+1]-1]], &whole) != nil
	})
	if len(lines) == 0 {
		return &Error{Err: err}
	}
	return errorAt(lines[i], 1, "%s", strings.TrimPrefix(err.Error(), "toml: "))
}

// place returns where n begins, or that of the field which it is the value of: the
// parser does not say where an array begins.
func (r *tomlReader) place(n *unstable.Node, f Field) (line, col int) {
	switch {
	case n.Raw.Length > 0:
		return r.at(int(n.Raw.Offset))
	case n.Kind != unstable.Array && n.Kind != unstable.InlineTable && n.Kind != unstable.String && len(n.Data) > 0:
		return r.at(int(r.p.Range(n.Data).Offset))
	}
	return f.Line, f.Col
}

func (r *tomlReader) key(n *unstable.Node) Field {
	line, col := r.at(int(n.Raw.Offset))
	return Field{Name: string(n.Data), Line: line, Col: col}
}

// enter returns the table that the field f of v is, or the last one of its list.
func enter(v *Value, f Field) *Value {
	next := v.Field(f.Name)
	if next == nil {
		next = &Value{Kind: Object, Line: f.Line, Col: f.Col}
		f.Value = next
		v.set(f)
	}
	if next.Kind == List {
		return next.Items[len(next.Items)-1]
	}
	return next
}

func (r *tomlReader) table(v *Value, key unstable.Iterator) *Value {
	for key.Next() {
		v = enter(v, r.key(key.Node()))
	}
	return v
}

// element appends a table to the list that key names.
func (r *tomlReader) element(v *Value, key unstable.Iterator) *Value {
	for key.Next() {
		f := r.key(key.Node())
		if !key.IsLast() {
			v = enter(v, f)
			continue
		}
		list := v.Field(f.Name)
		if list == nil {
			list = &Value{Kind: List, Line: f.Line, Col: f.Col}
			f.Value = list
			v.set(f)
		}
		v = &Value{Kind: Object, Line: f.Line, Col: f.Col}
		list.Items = append(list.Items, v)
	}
	return v
}

func (r *tomlReader) keyValue(v *Value, n *unstable.Node, depth int) error {
	for key := n.Key(); key.Next(); {
		f := r.key(key.Node())
		if !key.IsLast() {
			v = enter(v, f)
			continue
		}
		x, err := r.value(n.Value(), f, depth)
		if err != nil {
			return err
		}
		f.Value = x
		v.set(f)
	}
	return nil
}

func (r *tomlReader) value(n *unstable.Node, f Field, depth int) (*Value, error) {
	v := &Value{}
	v.Line, v.Col = r.place(n, f)
	if depth > maxDepth {
		return nil, errorAt(v.Line, v.Col, "lists and tables lie more than %d deep", maxDepth)
	}
	text := strings.ReplaceAll(string(n.Data), "_", "")
	switch n.Kind {
	case unstable.Bool:
		v.Kind, v.Text = Bool, text
	case unstable.Integer:
		i, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			return nil, errorAt(v.Line, v.Col, "%q is not an integer of 64 bits", n.Data)
		}
		v.Kind, v.Text = Int, strconv.FormatInt(i, 10)
	case unstable.Float:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(x, 0) || math.IsNaN(x) {
			return nil, errorAt(v.Line, v.Col, "%s is not a number of JSON", n.Data)
		}
		v.Kind, v.Text = Float, FormatFloat(x)
	case unstable.Array:
		v.Kind = List
		for c := n.Children(); c.Next(); {
			x, err := r.value(c.Node(), Field{Line: v.Line, Col: v.Col}, depth+1)
			if err != nil {
				return nil, err
			}
			v.Items = append(v.Items, x)
		}
	case unstable.InlineTable:
		v.Kind = Object
		for c := n.Children(); c.Next(); {
			if err := r.keyValue(v, c.Node(), depth+1); err != nil {
				return nil, err
			}
		}
	default:
		v.Kind, v.Text = String, string(n.Data)
	}
	return v, nil
}
