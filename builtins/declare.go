package builtins

import (
	"fmt"
	"reflect"
	"slices"

	"bake.build/bake/platforms"
	"go.starlark.net/starlark"
)

// Declare makes a Builtin whose arguments are the options that the struct A
// declares: see platforms.Fields for the tags.
//
// A field is a string, bool, int, []string, map[string]string, *Layer,
// *Artifact, *Platform, starlark.Value, or a type whose pointer is a Kind. One
// field of type []starlark.Tuple with the name platforms.Rest takes the keywords
// that no other field has. Arguments that are not marked keyword can be given by
// position, in order. None stands for an argument that is not given.
//
// Declare panics on a struct that cannot be declared.
func Declare[A any](name, doc, returns string, run func(c *Call, a *A) (starlark.Value, error)) Builtin {
	options := platforms.Fields(reflect.TypeFor[A]())
	isRest := func(o platforms.Option) bool { return o.Name == platforms.Rest }
	b := Builtin{
		Name: name, Doc: doc, Returns: returns,
		Args: slices.DeleteFunc(slices.Clone(options), isRest),
		Rest: slices.ContainsFunc(options, isRest),
	}
	b.call = func(c *Call, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if hasBroken(args, kwargs) {
			if v := inPlace(returns); v != nil {
				return v, nil
			}
		}
		a := new(A)
		err := c.withOwners(decodeArgs(c, options, reflect.ValueOf(a).Elem(), args, kwargs), nil)
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
	platforms.KindNamer
}

// decodeArgs puts the arguments of a call into dst, a struct that declares options.
func decodeArgs(c *Call, options []platforms.Option, dst reflect.Value, args starlark.Tuple, kwargs []starlark.Tuple) error {
	b, err := bind(options, args, kwargs)
	if err != nil {
		return err
	}
	c.given = b.values
	for _, o := range options {
		field := dst.FieldByIndex(o.Index)
		if o.Name == platforms.Rest {
			field.Set(reflect.ValueOf(b.rest))
			continue
		}
		if o.Default == "True" && field.Kind() == reflect.Bool {
			field.SetBool(true)
		}
		if v, ok := b.values[o.Name]; ok {
			if err := decodeValue(field.Addr().Interface(), o, v, nil); err != nil {
				return fmt.Errorf("%s: %w", o.Name, err)
			}
		}
	}
	for _, o := range options {
		if _, ok := b.values[o.Name]; o.Required && !ok {
			return fmt.Errorf("missing argument %q: want %s", o.Name, article(string(o.Kind)))
		}
	}
	return nil
}
