package builtins

import (
	"encoding/json"
	"errors"
	"fmt"

	"slices"
	"strconv"
	"strings"

	"bake.build/bake/internal/datafile"
	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/internal/spell"
)

// A valueError says what is wrong with a value of a parameter.
type valueError struct {
	path      string // of the value in the parameter, such as ".web.cpus"; "" for the whole
	line, col int    // in the file that the value is from, or 0
	kind      datafile.Kind
	err       error
}

// Error implements error.
func (e *valueError) Error() string { return e.path + ": " + e.err.Error() }

// Unwrap returns the cause.
func (e *valueError) Unwrap() error { return e.err }

func bad(path string, v *datafile.Value, format string, args ...any) error {
	return &valueError{path: path, line: v.Line, col: v.Col, err: fmt.Errorf(format, args...)}
}

// maxShown is how many bytes of a value a message repeats.
const maxShown = 100

func shownValue(v *datafile.Value) string {
	text := v.JSON()
	if len(text) > maxShown {
		return strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}

// conform returns v as the schema has it: with the defaults of fields that are not there,
// and integers as floats where floats are wanted. v is not changed. The error is a
// valueError; path is that of v.
func (s *schema) conform(path string, v *datafile.Value) (*datafile.Value, error) {
	switch {
	case s.typ == "any":
		return v, nil
	case s.typ == "float" && v.Kind == datafile.Int:
		f := *v
		f.Kind, f.Text = datafile.Float, v.Text+".0"
		v = &f
	case s.typ == "int" && v.Kind == datafile.Int:
		if _, ok := parseInt(v.Text); !ok {
			return nil, bad(path, v, "%s is not an integer of 64 bits", v.Text)
		}
	case s.typ != string(v.Kind):
		err := bad(path, v, "%s is not %s", shownValue(v), article(s.typ))
		err.(*valueError).kind = v.Kind
		return nil, err
	}
	switch s.typ {
	case "list":
		return s.conformList(path, v)
	case "dict":
		return s.conformDict(path, v)
	}
	return v, s.checkChoice(path, v)
}

// checkChoice fails unless the string or number v is one of the choices.
func (s *schema) checkChoice(path string, v *datafile.Value) error {
	if len(s.choices) == 0 || slices.Contains(s.choices, v.Text) {
		return nil
	}
	return bad(path, v, "%s is not a choice%s", v.JSON(), spell.Hint(v.Text, "choices", s.choices))
}

func (s *schema) conformList(path string, v *datafile.Value) (*datafile.Value, error) {
	list := *v
	list.Items = make([]*datafile.Value, len(v.Items))
	for i, x := range v.Items {
		at := fmt.Sprintf("%s[%d]", path, i)
		x, err := s.elements().conform(at, x)
		if err == nil {
			err = s.checkChoice(at, x)
		}
		if err != nil {
			return nil, err
		}
		list.Items[i] = x
	}
	return &list, nil
}

func (s *schema) conformDict(path string, v *datafile.Value) (*datafile.Value, error) {
	d := *v
	d.Fields = nil
	var errs []error
	for _, f := range v.Fields {
		of := s.elements()
		if s.fields != nil {
			known := s.field(f.Name)
			if known == nil {
				errs = append(errs, &valueError{path: path, line: f.Line, col: f.Col, err: fmt.Errorf("no field %q is declared%s", f.Name, spell.Hint(f.Name, "fields", s.names()))})
				continue
			}
			if f.Value.Kind == datafile.Null && known.def != nil && known.def.Kind == datafile.Null {
				d.Fields = append(d.Fields, f)
				continue
			}
			of = &known.schema
		}
		x, err := of.conform(path+step(f.Name), f.Value)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f.Value = x
		d.Fields = append(d.Fields, f)
	}
	for _, f := range s.fields {
		switch {
		case v.Field(f.name) != nil:
		case f.def == nil:
			errs = append(errs, bad(path, v, "the field %q is missing, want %s", f.name, f.schema.String()))
		default:
			d.Set(f.name, f.def.Clone())
		}
	}
	return &d, errors.Join(errs...)
}

func (s *schema) names() []string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	return names
}

var plainStep = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// step returns how a path names a field.
func step(name string) string {
	if plainStep.MatchString(name) {
		return "." + name
	}
	return "[" + strconv.Quote(name) + "]"
}

// parseText reads a value of a command line or of the environment. What is not a plain
// value is JSON; a list may also be elements with commas between.
func (s *schema) parseText(text string) (*datafile.Value, error) {
	switch s.typ {
	case "string":
		return &datafile.Value{Kind: datafile.String, Text: text}, nil
	case "bool":
		switch strings.ToLower(text) {
		case "true", "1", "yes", "on":
			return &datafile.Value{Kind: datafile.Bool, Text: "true"}, nil
		case "false", "0", "no", "off":
			return &datafile.Value{Kind: datafile.Bool, Text: "false"}, nil
		}
		return nil, fmt.Errorf("%q is not true or false", text)
	case "int":
		i, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not an integer", text)
		}
		return &datafile.Value{Kind: datafile.Int, Text: strconv.FormatInt(i, 10)}, nil
	case "float":
		// As JSON has it: neither infinite nor hexadecimal.
		if f, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err == nil && json.Valid([]byte(strings.TrimSpace(text))) {
			return &datafile.Value{Kind: datafile.Float, Text: datafile.FormatFloat(f)}, nil
		}
		return nil, fmt.Errorf("%q is not a number", text)
	case "list":
		return s.parseListText(text)
	}
	v, err := parseJSONText(text)
	switch {
	case s.typ == "any" && (err != nil || strings.TrimSpace(text) == ""):
		return &datafile.Value{Kind: datafile.String, Text: text}, nil
	case err != nil:
		return nil, fmt.Errorf(`%q is not JSON, such as {"key": 1}: %w`, text, err)
	}
	return v, nil
}

func (s *schema) parseListText(text string) (*datafile.Value, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		if v, err := parseJSONText(text); err == nil {
			return v, nil
		} else if s.elements().typ != "string" {
			return nil, fmt.Errorf("%q is not JSON, such as [1, 2]: %w", text, err)
		}
	}
	list := &datafile.Value{Kind: datafile.List}
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		x, err := s.elements().parseText(part)
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, x)
	}
	return list, nil
}

// parseJSONText reads JSON that is of no file.
func parseJSONText(text string) (*datafile.Value, error) {
	v, err := datafile.ParseJSON([]byte(text))
	if err != nil {
		var at *datafile.Error
		if errors.As(err, &at) && at.Line == 1 {
			err = fmt.Errorf("column %d: %w", at.Col, at.Err)
		}
		return nil, err
	}
	forget(v)
	return v, nil
}

// forget drops the places of v.
func forget(v *datafile.Value) {
	v.Line, v.Col = 0, 0
	for _, x := range v.Items {
		forget(x)
	}
	for i := range v.Fields {
		v.Fields[i].Line, v.Fields[i].Col = 0, 0
		forget(v.Fields[i].Value)
	}
}

// set returns v with the value at path, the names and numbers of what is in what, made of
// text.
func (s *schema) set(v *datafile.Value, path []string, text string) (*datafile.Value, error) {
	if len(path) == 0 {
		return s.parseText(text)
	}
	name := path[0]
	if v == nil {
		v = &datafile.Value{Kind: datafile.Object}
	}
	v = v.Clone()
	switch {
	case v.Kind == datafile.List:
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i >= len(v.Items) {
			return nil, fmt.Errorf("%q is not an element: the list has %d, from 0", name, len(v.Items))
		}
		v.Items[i], err = s.elements().set(v.Items[i], path[1:], text)
		return v, err
	case v.Kind != datafile.Object || s.typ != "dict" && s.typ != "any":
		return nil, fmt.Errorf("%q is a field of what has none: %s", name, shownValue(v))
	}
	of := s.elements()
	if s.fields != nil {
		f := s.field(name)
		if f == nil {
			return nil, fmt.Errorf("no field %q is declared%s", name, spell.Hint(name, "fields", s.names()))
		}
		of = &f.schema
	}
	x, err := of.set(v.Field(name), path[1:], text)
	if err != nil {
		return nil, err
	}
	v.Set(name, x)
	return v, nil
}
