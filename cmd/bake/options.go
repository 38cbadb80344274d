package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
)

// textOptions makes the JSON of a platform's options from "name=value". Only
// options that are strings can be given so.
func textOptions(declared []platforms.Option, given []string) (json.RawMessage, error) {
	values := map[string]string{}
	for _, g := range given {
		name, value, ok := strings.Cut(g, "=")
		if !ok {
			return nil, fmt.Errorf("%q: want name=value", g)
		}
		i := slices.IndexFunc(declared, func(o platforms.Option) bool { return o.Name == name })
		if i < 0 || declared[i].Kind != platforms.String {
			var names []string
			for _, o := range declared {
				if o.Kind == platforms.String {
					names = append(names, o.Name)
				}
			}
			return nil, fmt.Errorf("no option %q%s", name, spell.Hint(name, "options", names))
		}
		values[name] = value
	}
	return json.Marshal(values)
}
