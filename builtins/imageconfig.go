package builtins

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

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
	d, ok := v.(starlark.IterableMapping)
	if !ok {
		return wrongType(v, c.KindName())
	}
	var kwargs []starlark.Tuple
	for k, e := range starlark.Entries(d) {
		name, ok := k.(starlark.String)
		if !ok {
			return fmt.Errorf("key %s: %w", k, wrongType(k, "string"))
		}
		kwargs = append(kwargs, starlark.Tuple{name, e})
	}
	text, err := decodeOptions(platforms.Options(reflect.TypeFor[export.Config]()), kwargs, nil)
	if err != nil {
		return err
	}
	var config export.Config
	if err := json.Unmarshal(text, &config); err != nil {
		return err
	}
	if err := config.Check(); err != nil {
		return err
	}
	if string(text) == "{}" {
		return errors.New("the dict says nothing")
	}
	*c = ImageConfig(text)
	return nil
}
