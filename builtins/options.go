package builtins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

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

// A keywordError says that none of the options of a call is called name.
type keywordError struct {
	name    string
	options []string
	owners  []string // calls that have such an option
	own     bool     // one of them is of the same platform, which is nearer than any misspelling
}

func (e *keywordError) Error() string {
	hint := spell.Hint(e.name, "keywords", e.options)
	if len(e.owners) > 0 && (e.own || spell.Nearest(e.name, e.options) == "") {
		hint = ": it is an option of " + strings.Join(e.owners, " and ")
	}
	return fmt.Sprintf("unknown keyword %q%s", e.name, hint)
}

func unknownKeyword(name string, options []platforms.Option) error {
	return &keywordError{name: name, options: optionNames(options)}
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

// maxOwners is how many calls that have an option are named at most: what many have
// says little.
const maxOwners = 3

// withOwners adds to an error about an unknown keyword which calls have such an option.
// of is the platform that the call is about, whose options come before those of others,
// or nil.
func (c *Context) withOwners(err error, of *platforms.Spec) error {
	var e *keywordError
	if !errors.As(err, &e) {
		return err
	}
	if of != nil {
		e.owners = ownersOf(e.name, *of)
		e.own = len(e.owners) > 0
	}
	for _, b := range c.table {
		if hasOption(b.Args, e.name) {
			e.owners = append(e.owners, b.Name+"(…)")
		}
	}
	if len(e.owners) == 0 {
		for _, s := range c.Platforms {
			e.owners = append(e.owners, ownersOf(e.name, s)...)
		}
	}
	if len(e.owners) > maxOwners {
		e.owners = nil
	}
	return err
}

// ownersOf returns the calls that have the platform's option called name.
func ownersOf(name string, s platforms.Spec) (calls []string) {
	if hasOption(s.Options, name) {
		calls = append(calls, s.Name+"(…)")
	}
	if hasOption(s.Origin, name) {
		calls = append(calls, fmt.Sprintf("source(%s(), …)", s.Name))
	}
	if hasOption(s.Publication, name) {
		calls = append(calls, fmt.Sprintf("export(…, to = [%s()])", s.Name))
	}
	return calls
}

func hasOption(options []platforms.Option, name string) bool {
	return slices.ContainsFunc(options, func(o platforms.Option) bool { return o.Name == name })
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
