package datafile

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
)

// A Kind is the type of a Value, as messages name it.
type Kind string

// The kinds of values.
const (
	Null   Kind = "null"
	Bool   Kind = "bool"
	Int    Kind = "int"
	Float  Kind = "float"
	String Kind = "string"
	List   Kind = "list"
	Object Kind = "dict"
)

// A Value is one value of a file. Line and Col count from 1, Col in code points; they
// are 0 for a value that is of no file.
type Value struct {
	Kind   Kind
	Text   string // of a string its content; of a bool or a number as JSON has it
	Items  []*Value
	Fields []Field // each name once
	Line   int
	Col    int
}

// A Field is a named value of an object.
type Field struct {
	Name  string
	Value *Value
	Line  int // of the name
	Col   int
}

// Field returns the value of the field called name, or nil.
func (v *Value) Field(name string) *Value {
	for _, f := range v.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return nil
}

// Set makes x the value of the field called name.
func (v *Value) Set(name string, x *Value) {
	v.set(Field{Name: name, Value: x, Line: x.Line, Col: x.Col})
}

func (v *Value) set(f Field) {
	for i := range v.Fields {
		if v.Fields[i].Name == f.Name {
			v.Fields[i] = f
			return
		}
	}
	v.Fields = append(v.Fields, f)
}

// Clone returns a copy of v that shares nothing with it.
func (v *Value) Clone() *Value {
	c := *v
	c.Items, c.Fields = nil, nil
	for _, x := range v.Items {
		c.Items = append(c.Items, x.Clone())
	}
	for _, f := range v.Fields {
		f.Value = f.Value.Clone()
		c.Fields = append(c.Fields, f)
	}
	return &c
}

// JSON returns v as JSON, in one line.
func (v *Value) JSON() string {
	var b strings.Builder
	v.write(&b)
	return b.String()
}

func (v *Value) write(b *strings.Builder) {
	switch v.Kind {
	case Null:
		b.WriteString("null")
	case String:
		b.WriteString(quote(v.Text))
	case List:
		b.WriteByte('[')
		for i, x := range v.Items {
			if i > 0 {
				b.WriteByte(',')
			}
			x.write(b)
		}
		b.WriteByte(']')
	case Object:
		b.WriteByte('{')
		for i, f := range v.Fields {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(quote(f.Name) + ":")
			f.Value.write(b)
		}
		b.WriteByte('}')
	default:
		b.WriteString(v.Text)
	}
}

// quote writes a string of JSON. Only < > and & differ from what encoding/json makes.
func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string has always a JSON
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// An Error is what is wrong at a place of a file.
type Error struct {
	Line, Col int // 0 where it is not known
	Err       error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("%d:%d: %v", e.Line, e.Col, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func errorAt(line, col int, format string, args ...any) *Error {
	return &Error{Line: line, Col: col, Err: fmt.Errorf(format, args...)}
}

// maxDepth is how deep lists and objects may lie in another.
const maxDepth = 1000

// A Parser reads a text. Its errors are Errors.
type Parser func(text []byte) (*Value, error)

// ParserOf returns what reads the file called name by the end of its name, or nil where
// that says nothing.
func ParserOf(name string) Parser {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".json":
		return ParseJSON
	case ".yaml", ".yml":
		return ParseYAML
	case ".toml":
		return ParseTOML
	}
	return nil
}
