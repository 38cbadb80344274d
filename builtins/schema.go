package builtins

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"bake.build/bake/internal/datafile"
	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"go.starlark.net/starlark"
)

// paramTypes are the types of parameters and of what is in them.
var paramTypes = []string{"string", "bool", "int", "float", "list", "dict", "any"}

// A schema says which values a parameter, a field of one or an element may have.
type schema struct {
	typ     string   // one of paramTypes
	of      *schema  // of the elements of a list and the values of a dict; nil for any
	fields  []field  // of a dict; nil when it may have any
	choices []string // as text; for a list, of each element
	help    string
}

// A field is a declared field of a dict.
type field struct {
	name string
	schema
	def *datafile.Value // nil for a field that is required
}

var anyValue = &schema{typ: "any"}

// elements returns the schema of what is in a list or a dict.
func (s *schema) elements() *schema {
	if s.of == nil {
		return anyValue
	}
	return s.of
}

func (s *schema) field(name string) *field {
	for i := range s.fields {
		if s.fields[i].name == name {
			return &s.fields[i]
		}
	}
	return nil
}

// String describes s for users.
func (s *schema) String() string {
	switch {
	case len(s.fields) > 0:
		parts := make([]string, len(s.fields))
		for i, f := range s.fields {
			parts[i] = f.name + " (" + f.schema.String()
			if f.def != nil {
				parts[i] += ", default " + f.def.JSON()
			}
			parts[i] += ")"
		}
		return "dict of " + strings.Join(parts, ", ")
	case s.of != nil:
		return s.typ + " of " + s.of.String()
	case len(s.choices) > 0:
		return "one of " + strings.Join(s.choices, ", ")
	}
	return s.typ
}

// parseSchema reads the schema of a field or an element: the name of a type, or a dict
// of what param takes. The default is nil where there is none.
func parseSchema(v starlark.Value) (*schema, *datafile.Value, error) {
	if name, ok := starlark.AsString(v); ok {
		s := &schema{typ: name}
		return s, nil, s.checkType()
	}
	d, ok := v.(starlark.IterableMapping)
	if !ok {
		return nil, nil, wrongType(v, `name of a type, or dict such as {"type": "int", "default": 1}`)
	}
	var a schemaArgs
	for k, x := range starlark.Entries(d) {
		name, _ := starlark.AsString(k)
		o := findOption(schemaOptions, name)
		if o == nil {
			return nil, nil, fmt.Errorf("%s: not a part of a schema%s", k, spell.Hint(name, "there are", optionNames(schemaOptions)))
		}
		if err := decodeValue(reflect.ValueOf(&a).Elem().FieldByIndex(o.Index).Addr().Interface(), *o, x, nil); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", k, err)
		}
	}
	s, err := a.schema()
	if err != nil || a.Default == nil {
		return s, nil, err
	}
	def, err := s.fromDefault(a.Default)
	return s, def, err
}

// schemaArgs are what a schema is made from, as the definition gives it: the arguments of
// param and the parts of a dict alike. Values are nil or None when not given.
type schemaArgs struct {
	Default starlark.Value `bake:"default" help:"Default value. A parameter without one is required."`
	Help    string         `bake:"help,keyword" help:"One sentence of help for users."`
	Type    string         `bake:"type,keyword" help:"One of string, bool, int, float, list, dict and any." default:"that of the default, or string"`
	Choices starlark.Value `bake:"choices,keyword" help:"List of allowed strings or numbers; for a list, of each element."`
	Of      starlark.Value `bake:"of,keyword" help:"Type of a list's elements, or of a dict's values." default:"strings in a list, anything in a dict"`
	Fields  starlark.Value `bake:"fields,keyword" help:"Fields of a dict by their names. No others may be given."`
}

var schemaOptions = platforms.Fields(reflect.TypeFor[schemaArgs]())

func isNone(v starlark.Value) bool { return v == nil || v == starlark.None }

func (a *schemaArgs) schema() (*schema, error) {
	s := &schema{typ: a.Type, help: a.Help}
	switch {
	case a.Type != "":
	case !isNone(a.Default):
		x, err := fromStarlark(a.Default)
		if err != nil {
			return nil, fmt.Errorf("default: %w", err)
		}
		s.typ = string(x.Kind)
	case !isNone(a.Fields):
		s.typ = "dict"
	default:
		s.typ = "string"
	}
	if err := s.checkType(); err != nil {
		return nil, err
	}
	return s, cmp.Or(s.setOf(a.Of), s.setFields(a.Fields), s.setChoices(a.Choices), s.inferOf(a.Default))
}

func (s *schema) checkType() error {
	if !slices.Contains(paramTypes, s.typ) {
		return fmt.Errorf("type: %q is not a type%s", s.typ, spell.Hint(s.typ, "types", paramTypes))
	}
	return nil
}

func (s *schema) setOf(v starlark.Value) error {
	if isNone(v) {
		return nil
	}
	if s.typ != "list" && s.typ != "dict" {
		return fmt.Errorf("of: a value of type %s has no elements", s.typ)
	}
	of, def, err := parseSchema(v)
	if err == nil && def != nil {
		err = errors.New("an element has no default")
	}
	if err != nil {
		return fmt.Errorf("of: %w", err)
	}
	s.of = of
	return nil
}

func (s *schema) setFields(v starlark.Value) error {
	if isNone(v) {
		return nil
	}
	if s.typ != "dict" || s.of != nil {
		return fmt.Errorf("fields: belongs to a dict without of")
	}
	d, ok := v.(starlark.IterableMapping)
	if !ok {
		return fmt.Errorf("fields: %w", wrongType(v, "dict"))
	}
	for k, x := range starlark.Entries(d) {
		name, ok := starlark.AsString(k)
		if !ok {
			return fmt.Errorf("fields: got a %s for the name of a field, want a string", k.Type())
		}
		f, def, err := parseSchema(x)
		if err != nil {
			return fmt.Errorf("fields: %s: %w", name, err)
		}
		s.fields = append(s.fields, field{name: name, schema: *f, def: def})
	}
	if len(s.fields) == 0 {
		return errors.New("fields: the dict is empty")
	}
	return nil
}

func (s *schema) setChoices(v starlark.Value) error {
	if isNone(v) {
		return nil
	}
	list, err := fromStarlark(v)
	if err != nil || list.Kind != datafile.List {
		return fmt.Errorf("choices: %w", wrongType(v, "list"))
	}
	kind := s.typ
	if s.typ == "list" {
		kind = "string"
		if s.of != nil {
			kind = s.of.typ
		}
	}
	if kind != "string" && kind != "int" && kind != "float" {
		return fmt.Errorf("choices: a parameter of type %s has none", s.typ)
	}
	for _, x := range list.Items {
		if string(x.Kind) != kind {
			return fmt.Errorf("choices: %s is not %s", x.JSON(), article(kind))
		}
		s.choices = append(s.choices, x.Text)
	}
	return nil
}

// inferOf says what a list is of that does not say it: strings, unless its default has
// something else.
func (s *schema) inferOf(def starlark.Value) error {
	if s.typ != "list" || s.of != nil {
		return nil
	}
	s.of = &schema{typ: "string"}
	if isNone(def) {
		return nil
	}
	x, err := fromStarlark(def)
	if err != nil {
		return fmt.Errorf("default: %w", err)
	}
	for i, e := range x.Items {
		switch kind := string(e.Kind); {
		case e.Kind == datafile.List, e.Kind == datafile.Object, e.Kind == datafile.Null, i > 0 && kind != s.of.typ:
			s.of = anyValue
			return nil
		default:
			s.of = &schema{typ: kind}
		}
	}
	return nil
}

// fromDefault returns a default of the definition as a value that s allows. The value
// of a default that is None is null.
func (s *schema) fromDefault(v starlark.Value) (*datafile.Value, error) {
	x, err := fromStarlark(v)
	if err != nil {
		return nil, fmt.Errorf("default: %w", err)
	}
	if x.Kind == datafile.Null {
		return x, nil
	}
	if x, err = s.conform("", x); err != nil {
		var bad *valueError
		if errors.As(err, &bad) && bad.path == "" && bad.kind != "" {
			return nil, fmt.Errorf("default: got %s, want %s", bad.kind, s.typ)
		}
		return nil, fmt.Errorf("default%w", err)
	}
	return x, nil
}

// fromStarlark returns a value of a definition as data.
func fromStarlark(v starlark.Value) (*datafile.Value, error) {
	switch v := v.(type) {
	case starlark.NoneType:
		return &datafile.Value{Kind: datafile.Null}, nil
	case starlark.Bool:
		return &datafile.Value{Kind: datafile.Bool, Text: strconv.FormatBool(bool(v))}, nil
	case starlark.Int:
		return &datafile.Value{Kind: datafile.Int, Text: v.String()}, nil
	case starlark.Float:
		return &datafile.Value{Kind: datafile.Float, Text: datafile.FormatFloat(float64(v))}, nil
	case starlark.String:
		return &datafile.Value{Kind: datafile.String, Text: string(v)}, nil
	case starlark.IterableMapping:
		x := &datafile.Value{Kind: datafile.Object}
		for k, e := range starlark.Entries(v) {
			name, ok := starlark.AsString(k)
			if !ok {
				return nil, fmt.Errorf("got a %s for a key, want a string", k.Type())
			}
			content, err := fromStarlark(e)
			if err != nil {
				return nil, err
			}
			x.Set(name, content)
		}
		return x, nil
	case *starlark.List, starlark.Tuple:
		x := &datafile.Value{Kind: datafile.List}
		for e := range starlark.Elements(v.(starlark.Sequence)) {
			content, err := fromStarlark(e)
			if err != nil {
				return nil, err
			}
			x.Items = append(x.Items, content)
		}
		return x, nil
	}
	return nil, wrongType(v, "string, bool, int, float, list or dict")
}

// toStarlark returns data as a value of a definition, which nothing else shares.
func toStarlark(x *datafile.Value) starlark.Value {
	switch x.Kind {
	case datafile.Bool:
		return starlark.Bool(x.Text == "true")
	case datafile.Int:
		if i, ok := parseInt(x.Text); ok {
			return i
		}
	case datafile.Float:
		if f, err := strconv.ParseFloat(x.Text, 64); err == nil {
			return starlark.Float(f)
		}
	case datafile.String:
		return starlark.String(x.Text)
	case datafile.List:
		list := make([]starlark.Value, len(x.Items))
		for i, e := range x.Items {
			list[i] = toStarlark(e)
		}
		return starlark.NewList(list)
	case datafile.Object:
		d := starlark.NewDict(len(x.Fields))
		for _, f := range x.Fields {
			if err := d.SetKey(starlark.String(f.Name), toStarlark(f.Value)); err != nil {
				panic(err) // strings can be keys, and the dict is new
			}
		}
		return d
	}
	return starlark.None
}

func parseInt(text string) (starlark.Int, bool) {
	i, err := strconv.ParseInt(text, 10, 64)
	return starlark.MakeInt64(i), err == nil
}
