package builtins

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"unicode/utf8"

	"bake.build/bake/internal/spell"
	"go.starlark.net/starlark"
)

// Declare makes a Builtin whose arguments are the fields of the struct A. Each
// exported field has the tags
//
//	arg:"name,required,keyword"  required and keyword are optional
//	help:"…"                     one sentence
//	default:"…"                  as shown to users; "True" also sets a bool
//
// A field is a string, bool, int, []string, map[string]string, *Layer,
// *Artifact, *Platform, starlark.Value, or a type whose pointer is a Kind. One
// field of type []starlark.Tuple with the tag arg:"**" takes the keywords that
// no other field has. The fields of an embedded struct are fields of A.
// Arguments that are not marked keyword can be given by position, in order.
// None stands for an argument that is not given.
//
// Declare panics on a struct that cannot be declared.
func Declare[A any](name, doc, returns string, run func(c *Call, a *A) (starlark.Value, error)) Builtin {
	fields := argFields(reflect.TypeFor[A](), nil)
	b := Builtin{Name: name, Doc: doc, Returns: returns}
	for _, f := range fields {
		if f.Name == "**" {
			b.Rest = true
		} else {
			b.Args = append(b.Args, f.Arg)
		}
	}
	b.call = func(c *Call, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if hasBroken(args, kwargs) {
			if v := inPlace(returns); v != nil {
				return v, nil
			}
		}
		a := new(A)
		err := decodeArgs(c, fields, reflect.ValueOf(a).Elem(), args, kwargs)
		var v starlark.Value
		if err == nil {
			v, err = run(c, a)
		}
		if err != nil {
			return c.goOn(err, returns)
		}
		return v, nil
	}
	return b
}

// A Kind is a type of argument beyond the plain ones. Methods have pointer
// receivers.
type Kind interface {
	starlark.Unpacker
	// KindName names the type for users, such as "string or list of strings".
	KindName() string
}

type argField struct {
	Arg
	index []int
	yes   bool // a bool that is true by default
}

func argFields(t reflect.Type, index []int) []argField {
	var fields []argField
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(index[:len(index):len(index)], i)
		if f.Anonymous {
			// A field of the outer struct hides one of the same name, as in Go.
			for _, inner := range argFields(f.Type, at) {
				if findField(fields, inner.Name) == nil || inner.Name == "**" {
					fields = append(fields, inner)
				}
			}
			continue
		}
		flags := strings.Split(f.Tag.Get("arg"), ",")
		a := argField{index: at, Arg: Arg{
			Name:    flags[0],
			Type:    typeName(f.Type),
			Default: f.Tag.Get("default"),
			Help:    f.Tag.Get("help"),
		}}
		if a.Name == "" || a.Type == "" || a.Help == "" && a.Name != "**" {
			panic(fmt.Sprintf("builtins: %s.%s: needs the tags arg and help, and a type that can be an argument", t, f.Name))
		}
		for _, flag := range flags[1:] {
			switch flag {
			case "required":
				a.Required = true
			case "keyword":
				a.Keyword = true
			default:
				panic(fmt.Sprintf("builtins: %s.%s: unknown flag %q", t, f.Name, flag))
			}
		}
		a.yes = a.Default == "True" && f.Type.Kind() == reflect.Bool
		fields = append(fields, a)
	}
	return fields
}

func typeName(t reflect.Type) string {
	if k, ok := reflect.New(t).Interface().(Kind); ok {
		return k.KindName()
	}
	switch reflect.Zero(t).Interface().(type) {
	case string:
		return "string"
	case bool:
		return "bool"
	case int:
		return "int"
	case []string:
		return "list of strings"
	case map[string]string:
		return "dict of strings"
	case *Layer:
		return "layer"
	case *Artifact:
		return "artifact"
	case *Platform:
		return "platform"
	case []starlark.Tuple:
		return "keywords"
	}
	if t == reflect.TypeFor[starlark.Value]() {
		return "any"
	}
	return ""
}

func decodeArgs(c *Call, fields []argField, dst reflect.Value, args starlark.Tuple, kwargs []starlark.Tuple) error {
	c.given = make(map[string]bool, len(args)+len(kwargs))
	for _, f := range fields {
		if f.yes {
			dst.FieldByIndex(f.index).SetBool(true)
		}
	}
	if err := decodePositional(c, fields, dst, args); err != nil {
		return err
	}
	for _, kv := range kwargs {
		name := string(kv[0].(starlark.String))
		f := findField(fields, name)
		switch {
		case f == nil:
			return unknownKeyword(name, fields)
		case f.Name == "**":
			rest := dst.FieldByIndex(f.index)
			rest.Set(reflect.Append(rest, reflect.ValueOf(kv)))
			continue
		case c.given[name]:
			return fmt.Errorf("%s: given twice", name)
		}
		if err := decodeField(c, f, dst, kv[1]); err != nil {
			return err
		}
	}
	for _, f := range fields {
		if f.Required && !c.given[f.Name] {
			return fmt.Errorf("missing argument %q: want %s", f.Name, article(f.Type))
		}
	}
	return nil
}

func decodePositional(c *Call, fields []argField, dst reflect.Value, args starlark.Tuple) error {
	most := 0
	for i := range fields {
		if f := &fields[i]; !f.Keyword && f.Name != "**" {
			if most < len(args) {
				if err := decodeField(c, f, dst, args[most]); err != nil {
					return err
				}
			}
			most++
		}
	}
	if len(args) > most {
		return fmt.Errorf("%d arguments by position, want at most %d; the others are given by keyword", len(args), most)
	}
	return nil
}

// findField returns the field called name, or the one that takes the rest.
func findField(fields []argField, name string) *argField {
	var rest *argField
	for i := range fields {
		switch fields[i].Name {
		case name:
			return &fields[i]
		case "**":
			rest = &fields[i]
		}
	}
	return rest
}

func unknownKeyword(name string, fields []argField) error {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return fmt.Errorf("unknown keyword %q%s", name, spell.Hint(name, "keywords", names))
}

func decodeField(c *Call, f *argField, dst reflect.Value, v starlark.Value) error {
	if v == starlark.None && !f.Required {
		return nil
	}
	c.given[f.Name] = true
	if err := decodeValue(dst.FieldByIndex(f.index).Addr().Interface(), f.Type, v); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	return nil
}

// decodeValue puts v into what ptr points to. want names the type for users.
func decodeValue(ptr any, want string, v starlark.Value) error {
	var err error
	ok := false
	switch p := ptr.(type) {
	case Kind:
		return p.Unpack(v)
	case *starlark.Value:
		*p, ok = v, true
	case *string:
		*p, err = asText(v)
		ok = err == nil
	case *bool:
		var b starlark.Bool
		b, ok = v.(starlark.Bool)
		*p = bool(b)
	case *int:
		*p, ok = asInt(v)
	case *[]string:
		*p, err = asStrings(v)
		ok = err == nil
	case *map[string]string:
		*p, err = asMap(v)
		ok = err == nil
	case **Layer:
		*p, ok = v.(*Layer)
	case **Artifact:
		*p, ok = v.(*Artifact)
	case **Platform:
		*p, ok = v.(*Platform)
	}
	if !ok && (err == nil || err == errType) {
		return wrongType(v, want)
	}
	return err
}

var errType = fmt.Errorf("wrong type")

func wrongType(v starlark.Value, want string) error {
	got := v.Type()
	switch {
	case got == "secret":
		return fmt.Errorf("got a secret, want %s; a secret is passed through secrets=", article(want))
	case got == "artifact" && want == "layer":
		return fmt.Errorf("got an artifact, want a layer: an artifact is a finished image, use the layer that was exported")
	case got == "platform" && want == "layer":
		return fmt.Errorf("got a platform, want a layer: source(%s, …) makes one", v)
	case got == "builtin_function_or_method" && want == "platform":
		return fmt.Errorf("got a function, want a platform: call it, as in rootfs()")
	case got == "NoneType":
		return fmt.Errorf("got None, want %s: does a function lack its return statement?", article(want))
	}
	return fmt.Errorf("got %s, want %s", got, want)
}

func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

// asText returns the text of a string, which has to be UTF-8 so that no two
// texts look the same in a key.
func asText(v starlark.Value) (string, error) {
	s, ok := starlark.AsString(v)
	if !ok {
		return "", errType
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%q is not UTF-8", s)
	}
	return s, nil
}

func asInt(v starlark.Value) (int, bool) {
	i, ok := v.(starlark.Int)
	if !ok {
		return 0, false
	}
	n, ok := i.Int64()
	if !ok || n > math.MaxInt32 || n < math.MinInt32 {
		return 0, false
	}
	return int(n), true
}

func asStrings(v starlark.Value) ([]string, error) {
	if _, ok := v.(starlark.Mapping); ok {
		return nil, errType
	}
	seq, ok := v.(starlark.Sequence)
	if !ok {
		return nil, errType
	}
	list := make([]string, 0, seq.Len())
	for e := range starlark.Elements(seq) {
		s, err := asText(e)
		if err == errType {
			return nil, fmt.Errorf("element %d: %w", len(list), wrongType(e, "string"))
		} else if err != nil {
			return nil, fmt.Errorf("element %d: %w", len(list), err)
		}
		list = append(list, s)
	}
	return list, nil
}

func asMap(v starlark.Value) (map[string]string, error) {
	d, ok := v.(starlark.IterableMapping)
	if !ok {
		return nil, errType
	}
	m := map[string]string{}
	for k, e := range starlark.Entries(d) {
		name, err := asText(k)
		if err == errType {
			return nil, fmt.Errorf("key %s: %w", k, wrongType(k, "string"))
		} else if err != nil {
			return nil, err
		}
		m[name], err = asText(e)
		if err == errType {
			return nil, fmt.Errorf("%q: %w", name, wrongType(e, "string"))
		} else if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
	}
	return m, nil
}
