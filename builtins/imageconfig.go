package builtins

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"bake.build/bake/internal/ovf"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"go.starlark.net/starlark"
)

// An ImageConfig is an argument that is a dict of the options that
// export.Config declares, kept as their canonical JSON.
type ImageConfig json.RawMessage

// KindName implements Kind.
func (*ImageConfig) KindName() string { return "dict" }

// Unpack implements starlark.Unpacker.
func (c *ImageConfig) Unpack(v starlark.Value) error {
	text, err := optionsDict(v, (*export.Config).Check)
	*c = ImageConfig(text)
	return err
}

// A Descriptor is an argument that is a dict of the options that ovf.Options declares,
// kept as their canonical JSON.
type Descriptor json.RawMessage

// KindName implements Kind.
func (*Descriptor) KindName() string { return "dict" }

// Unpack implements starlark.Unpacker.
func (d *Descriptor) Unpack(v starlark.Value) error {
	text, err := optionsDict(v, (*ovf.Options).Check)
	*d = Descriptor(text)
	return err
}

// optionsDict returns a dict of the options that the struct T declares as canonical JSON.
func optionsDict[T any](v starlark.Value, check func(*T) error) (json.RawMessage, error) {
	d, ok := v.(starlark.IterableMapping)
	if !ok {
		return nil, wrongType(v, "dict")
	}
	var kwargs []starlark.Tuple
	for k, e := range starlark.Entries(d) {
		name, ok := k.(starlark.String)
		if !ok {
			return nil, fmt.Errorf("key %s: %w", k, wrongType(k, "string"))
		}
		kwargs = append(kwargs, starlark.Tuple{name, e})
	}
	text, err := decodeOptions(platforms.Options(reflect.TypeFor[T]()), kwargs, nil)
	if err != nil {
		return nil, err
	}
	options := new(T)
	if err := json.Unmarshal(text, options); err != nil {
		return nil, err
	}
	if err := check(options); err != nil {
		return nil, err
	}
	if string(text) == "{}" {
		return nil, errors.New("the dict says nothing")
	}
	return text, nil
}
