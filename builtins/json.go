package builtins

import (
	"fmt"
	"maps"
	"strings"

	starlarkjson "go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// maxJSONDepth is how deep the lists and objects of a text may lie in another.
// The decoder calls itself for each: without a bound, a text could take the
// whole stack, which ends the process.
const maxJSONDepth = 10_000

// jsonModule returns Starlark's json with a bounded decode.
func jsonModule() *starlarkstruct.Module {
	members := maps.Clone(starlarkjson.Module.Members)
	decode := members["decode"]
	members["decode"] = starlark.NewBuiltin("json.decode", func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if len(args) > 0 { // the text has no name
			if text, ok := args[0].(starlark.String); ok && tooDeep(string(text)) {
				return nil, fmt.Errorf("json.decode: lists and objects lie more than %d deep", maxJSONDepth)
			}
		}
		return starlark.Call(thread, decode, args, kwargs)
	})
	return &starlarkstruct.Module{Name: starlarkjson.Module.Name, Members: members}
}

// tooDeep reports whether more brackets are open at a time than may be.
func tooDeep(text string) bool {
	if strings.Count(text, "[")+strings.Count(text, "{") <= maxJSONDepth {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxJSONDepth {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}
