package builtins

import (
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"go.starlark.net/starlark"
)

// A taker handles the options whose values are more than data: local files,
// layers, artifacts and secrets. It returns the string that stands for the value
// in the options, or "" when it keeps the value elsewhere.
type taker func(o platforms.Option, v starlark.Value) (string, error)

// decodeValue puts v, which is given for o, into what ptr points to. Options of
// builtins need no taker.
func decodeValue(ptr any, o platforms.Option, v starlark.Value, take taker) error {
	var err error
	if o.Numbers {
		v = digits(o.Kind, v)
	}
	switch p := ptr.(type) {
	case starlark.Unpacker:
		return p.Unpack(v)
	case *starlark.Value:
		*p = v
	case *string:
		*p, err = stringValue(o, v, take)
	case *platforms.Secret:
		var name string
		name, err = take(o, v)
		*p = platforms.Secret(name)
	case *bool:
		var b starlark.Bool
		b, err = as[starlark.Bool](v)
		*p = bool(b)
	case *int:
		*p, err = asInt(v)
	case *[]string:
		*p, err = asStrings(v)
		if o.IsSet {
			*p = slices.Compact(slices.Sorted(slices.Values(*p)))
		}
	case *map[string]string:
		*p, err = asMap(v)
	case *platforms.Files:
		*p, err = filesValue(o, v, take)
	case **Layer:
		*p, err = as[*Layer](v)
	case **Artifact:
		*p, err = as[*Artifact](v)
	case **Platform:
		*p, err = as[*Platform](v)
	case **Hardware:
		*p, err = as[*Hardware](v)
	case **Secret:
		*p, err = as[*Secret](v)
	case **hardware.Options:
		var h *Hardware
		if h, err = as[*Hardware](v); err == nil {
			*p = &h.options
		}
	default:
		panic(fmt.Sprintf("builtins: option %s has the type %T", o.Name, ptr))
	}
	if err == errType {
		return wrongType(v, string(o.Kind))
	}
	return err
}

// digits returns the value of an option of the kind k with texts in place of ints.
func digits(k platforms.Kind, v starlark.Value) starlark.Value {
	text := func(v starlark.Value) starlark.Value {
		if i, ok := v.(starlark.Int); ok {
			return starlark.String(i.String())
		}
		return v
	}
	switch list, isList := v.(starlark.Sequence); {
	case k == platforms.String:
		return text(v)
	case k == platforms.Map:
		if d, ok := v.(starlark.IterableMapping); ok {
			with := starlark.NewDict(0)
			for name, e := range starlark.Entries(d) {
				if err := with.SetKey(name, text(e)); err != nil {
					return v // a key that no option has
				}
			}
			return with
		}
	case k == platforms.Strings && isList && v.Type() != "dict":
		var with []starlark.Value
		for e := range starlark.Elements(list) {
			with = append(with, text(e))
		}
		return starlark.NewList(with)
	}
	return v
}

// as returns v as a T.
func as[T starlark.Value](v starlark.Value) (T, error) {
	x, ok := v.(T)
	if !ok {
		return x, errType
	}
	return x, nil
}

// stringValue returns what stands for v in an option that is kept as a string.
func stringValue(o platforms.Option, v starlark.Value, take taker) (string, error) {
	switch o.Kind {
	case platforms.Path, platforms.Ref, platforms.LayerRef:
		if v.Type() == "secret" {
			return "", errType
		}
		return take(o, v)
	}
	s, err := asText(v)
	if err != nil {
		return "", err
	}
	return optionText(o, s)
}

// filesValue takes a path, a dict of contents by name, or a list of both. It returns
// the contents.
func filesValue(o platforms.Option, v starlark.Value, take taker) (platforms.Files, error) {
	parts := []starlark.Value{v}
	if list, ok := v.(starlark.Sequence); ok && v.Type() != "dict" {
		parts = slices.Collect(starlark.Elements(list))
	}
	made, paths := platforms.Files{}, 0
	for _, part := range parts {
		if m, err := asMap(part); err == nil {
			for name, text := range m {
				if _, twice := made[name]; twice {
					return nil, fmt.Errorf("the file %q is given twice", name)
				}
				if !fs.ValidPath(name) || name == "." {
					return nil, fmt.Errorf("%q is not the name of a file", name)
				}
				made[name] = text
			}
			continue
		} else if err != errType {
			return nil, err
		}
		one := o
		one.Kind, one.Name = platforms.Path, platforms.FilesKey(o.Name, paths)
		text, err := take(one, part)
		if err != nil {
			return nil, err
		}
		if text != "" {
			return nil, fmt.Errorf("want a local path, not %q", text)
		}
		paths++
	}
	return made, nil
}

// optionText checks a string and writes it so that equal values are equal
// texts.
func optionText(o platforms.Option, s string) (string, error) {
	switch o.Kind {
	case platforms.Size:
		n, err := platforms.ParseSize(s)
		return platforms.FormatSize(n), err
	case platforms.Duration:
		d, err := platforms.ParseDuration(s)
		return d.String(), err
	}
	if len(o.Choices) > 0 && !slices.Contains(o.Choices, s) {
		return "", fmt.Errorf("%q is not a choice%s", s, spell.Hint(s, "choices", o.Choices))
	}
	return s, nil
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

func asInt(v starlark.Value) (int, error) {
	i, ok := v.(starlark.Int)
	if !ok {
		return 0, errType
	}
	n, ok := i.Int64()
	if !ok || n > math.MaxInt32 || n < math.MinInt32 {
		return 0, fmt.Errorf("%s is out of range", v)
	}
	return int(n), nil
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
