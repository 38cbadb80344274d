package builtins

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"go.starlark.net/starlark"
)

// A binding is what a call gives: values by the names of options, without those
// that are None, and the keywords that no option has, where these may be.
type binding struct {
	values map[string]starlark.Value
	rest   []starlark.Tuple
}

// bind finds the option that each argument of a call is for.
func bind(options []platforms.Option, args starlark.Tuple, kwargs []starlark.Tuple) (binding, error) {
	b := binding{values: make(map[string]starlark.Value, len(args)+len(kwargs))}
	give := func(o *platforms.Option, v starlark.Value) {
		if v != starlark.None || o.Required {
			b.values[o.Name] = v
		}
	}
	most := 0
	for i := range options {
		if o := &options[i]; !o.Keyword && o.Name != platforms.Rest {
			if most < len(args) {
				give(o, args[most])
			}
			most++
		}
	}
	if len(args) > most {
		return b, fmt.Errorf("%d arguments by position, want at most %d; the others are given by keyword", len(args), most)
	}
	for _, kv := range kwargs {
		name := string(kv[0].(starlark.String))
		o := findOption(options, name)
		if o == nil {
			return b, unknownKeyword(name, options)
		}
		if o.Name == platforms.Rest {
			b.rest = append(b.rest, kv)
			continue
		}
		if _, twice := b.values[name]; twice {
			return b, fmt.Errorf("%s: given twice", name)
		}
		give(o, kv[1])
	}
	return b, nil
}

// findOption returns the option called name, or the one that takes the rest.
func findOption(options []platforms.Option, name string) *platforms.Option {
	for _, wanted := range []string{name, platforms.Rest} {
		if i := slices.IndexFunc(options, func(o platforms.Option) bool { return o.Name == wanted }); i >= 0 {
			return &options[i]
		}
	}
	return nil
}

func unknownKeyword(name string, options []platforms.Option) error {
	return fmt.Errorf("unknown keyword %q%s", name, spell.Hint(name, "keywords", optionNames(options)))
}

// optionNames returns the keywords of options.
func optionNames(options []platforms.Option) (names []string) {
	for _, o := range options {
		if o.Name != platforms.Rest {
			names = append(names, o.Name)
		}
	}
	return names
}

// decodeOptions checks keywords against the options that a platform declares
// and returns them as canonical JSON: in the order of declaration, without
// those that are zero.
func decodeOptions(options []platforms.Option, kwargs []starlark.Tuple, take taker) (json.RawMessage, error) {
	b, err := bind(options, nil, kwargs)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	buf.WriteByte('{')
	for _, o := range options {
		v, ok := b.values[o.Name]
		if !ok {
			continue
		}
		field := reflect.New(o.Type)
		if err := decodeValue(field.Interface(), o, v, take); err != nil {
			return nil, fmt.Errorf("%s: %w", o.Name, err)
		}
		if omitted(field.Elem()) {
			if o.IsOrigin && v == starlark.String("") {
				return nil, fmt.Errorf("%s: is empty", o.Name)
			}
			continue
		}
		text, err := json.Marshal(field.Interface())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Name, err)
		}
		if buf.Len() > 1 {
			buf.WriteByte(',')
		}
		fmt.Fprintf(&buf, "%q:%s", o.Name, text)
	}
	buf.WriteByte('}')
	return buf.Bytes(), nil
}

// omitted reports whether a value is one that omitempty leaves out.
func omitted(v reflect.Value) bool {
	if k := v.Kind(); k == reflect.Slice || k == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}
