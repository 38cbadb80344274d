package builtins

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"slices"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"go.starlark.net/starlark"
)

// A taker handles the options whose values are more than data: local files,
// layers and artifacts. It returns the string that stands for the value in the
// options, or "" when it keeps the value elsewhere.
type taker func(o platforms.Option, v starlark.Value) (string, error)

// decodeOptions checks keywords against the options that a platform declares
// and returns them as canonical JSON: in the order of declaration, without
// those that are zero.
func decodeOptions(options []platforms.Option, kwargs []starlark.Tuple, take taker) (json.RawMessage, error) {
	values := make(map[string]starlark.Value, len(kwargs))
	for _, kv := range kwargs {
		name := string(kv[0].(starlark.String))
		if !slices.ContainsFunc(options, func(o platforms.Option) bool { return o.Name == name }) {
			names := make([]string, len(options))
			for i, o := range options {
				names[i] = o.Name
			}
			return nil, fmt.Errorf("unknown keyword %q%s", name, spell.Hint(name, "keywords", names))
		}
		values[name] = kv[1]
	}
	var buf bytes.Buffer
	buf.WriteByte('{')
	for _, o := range options {
		v, ok := values[o.Name]
		if !ok || v == starlark.None {
			continue
		}
		x, err := optionValue(o, v, take)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Name, err)
		}
		if x == nil && o.IsOrigin && v.Type() == "string" && v.Truth() == starlark.False {
			return nil, fmt.Errorf("%s: is empty", o.Name)
		}
		if x == nil {
			continue
		}
		text, err := json.Marshal(x)
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

// optionValue returns what stands for v in JSON, or nil when it is left out.
func optionValue(o platforms.Option, v starlark.Value, take taker) (any, error) {
	switch o.Kind {
	case platforms.Bool:
		if b, ok := v.(starlark.Bool); ok {
			return zeroNil(bool(b)), nil
		}
	case platforms.Int:
		if i, ok := v.(starlark.Int); ok {
			n, ok := i.Int64()
			if !ok || n > math.MaxInt32 || n < math.MinInt32 {
				return nil, fmt.Errorf("%s is out of range", v)
			}
			return zeroNil(n), nil
		}
	case platforms.Strings:
		if list, err := asStrings(v); err != errType {
			if len(list) == 0 || err != nil {
				return nil, err
			}
			if o.IsSet {
				list = slices.Compact(slices.Sorted(slices.Values(list)))
			}
			return list, nil
		}
	case platforms.Map:
		if m, err := asMap(v); err != errType {
			if len(m) == 0 || err != nil {
				return nil, err
			}
			return m, nil
		}
	case platforms.FilesOf:
		m, err := filesValue(o, v, take)
		if len(m) == 0 || err != nil {
			return nil, err
		}
		return m, nil
	case platforms.SecretOf:
		s, err := take(o, v)
		return zeroNil(s), err
	case platforms.Path, platforms.Ref, platforms.LayerRef:
		if v.Type() == "secret" {
			break
		}
		s, err := take(o, v)
		return zeroNil(s), err
	case platforms.String, platforms.Size, platforms.Duration:
		if s, err := asText(v); err != errType {
			if err == nil {
				s, err = optionText(o, s)
			}
			return zeroNil(s), err
		}
	default:
		panic(fmt.Sprintf("builtins: option %s has the unknown kind %q", o.Name, o.Kind))
	}
	return nil, wrongType(v, string(o.Kind))
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

// zeroNil returns nil for a zero value, which omitempty leaves out.
func zeroNil[T comparable](v T) any {
	if v == *new(T) {
		return nil
	}
	return v
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
