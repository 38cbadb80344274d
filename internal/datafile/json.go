package datafile

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// ParseJSON reads a text that is one JSON value. Of a name that an object has twice, the
// last counts.
func ParseJSON(text []byte) (*Value, error) {
	r := &jsonReader{places: placesOf(text)}
	// The decoder of tokens does not see all errors.
	var whole any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err := d.Decode(&whole)
	if err == nil {
		var more json.RawMessage
		if next := d.Decode(&more); next == nil || !errors.Is(next, io.EOF) {
			return nil, r.failed(d.InputOffset()-int64(len(more)), errors.New("more follows after the end of the value"))
		}
	}
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return nil, r.failed(syntax.Offset-1, syntax)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, r.failed(int64(len(text)), errors.New("unexpected end of JSON input"))
	case err != nil:
		return nil, &Error{Err: err}
	}
	r.d = json.NewDecoder(bytes.NewReader(text))
	r.d.UseNumber()
	return r.value(0)
}

// A jsonReader reads a text that is known to be JSON.
type jsonReader struct {
	d *json.Decoder
	places
}

func (r *jsonReader) failed(offset int64, err error) error {
	line, col := r.at(int(offset))
	return &Error{Line: line, Col: col, Err: err}
}

// token returns the next token and its place.
func (r *jsonReader) token() (t json.Token, line, col int, err error) {
	start := int(r.d.InputOffset())
	for start < len(r.text) && strings.IndexByte(" \t\r\n,:", r.text[start]) >= 0 {
		start++
	}
	line, col = r.at(start)
	t, err = r.d.Token()
	if err != nil {
		err = &Error{Line: line, Col: col, Err: err}
	}
	return t, line, col, err
}

func (r *jsonReader) value(depth int) (*Value, error) {
	t, line, col, err := r.token()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, errorAt(line, col, "lists and objects lie more than %d deep", maxDepth)
	}
	v := &Value{Line: line, Col: col}
	switch t := t.(type) {
	case nil:
		v.Kind = Null
	case bool:
		v.Kind, v.Text = Bool, "false"
		if t {
			v.Text = "true"
		}
	case string:
		v.Kind, v.Text = String, t
	case json.Number:
		v.Kind, v.Text = Int, t.String()
		if strings.ContainsAny(v.Text, ".eE") {
			v.Kind = Float
		}
	case json.Delim:
		if t == '[' {
			v.Kind = List
			return v, r.items(v, depth)
		}
		v.Kind = Object
		return v, r.fields(v, depth)
	}
	return v, nil
}

func (r *jsonReader) items(v *Value, depth int) error {
	for r.d.More() {
		x, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		v.Items = append(v.Items, x)
	}
	_, _, _, err := r.token()
	return err
}

func (r *jsonReader) fields(v *Value, depth int) error {
	known := map[string]int{}
	for r.d.More() {
		t, line, col, err := r.token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		x, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		f := Field{Name: name, Value: x, Line: line, Col: col}
		if i, twice := known[name]; twice {
			v.Fields[i] = f
			continue
		}
		known[name] = len(v.Fields)
		v.Fields = append(v.Fields, f)
	}
	_, _, _, err := r.token()
	return err
}

// places turns offsets of a text into lines and columns.
type places struct {
	text  []byte
	lines []int // offsets of their beginnings
}

func placesOf(text []byte) places {
	p := places{text: text, lines: []int{0}}
	for i, c := range text {
		if c == '\n' {
			p.lines = append(p.lines, i+1)
		}
	}
	return p
}

func (p *places) at(offset int) (line, col int) {
	offset = min(max(offset, 0), len(p.text))
	line, found := slices.BinarySearch(p.lines, offset)
	if found {
		line++
	}
	return line, 1 + utf8.RuneCount(p.text[p.lines[line-1]:offset])
}
