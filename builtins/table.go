package builtins

import (
	"bake.build/bake/platforms"
	"go.starlark.net/lib/math"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// Table returns the builtins of bake.
func Table() []Builtin {
	return []Builtin{
		sourceBuiltin(),
		shellBuiltin(),
		shellLocalBuiltin(),
		copyBuiltin(),
		writeBuiltin(),
		rebootBuiltin(),
		exportBuiltin(),
		outputBuiltin(),
		testBuiltin(),
		hardwareBuiltin(),
		paramBuiltin(),
		secretBuiltin(),
		readFileBuiltin(),
		globBuiltin(),
		visibilityBuiltin(),
	}
}

// A Builtin is a function of the language.
type Builtin struct {
	Name    string
	Doc     string // paragraphs for the reference; the first is one sentence
	Returns string // what the call gives, such as "layer"
	Args    []platforms.Option
	Rest    bool // takes further keywords, which are not in Args
	call    func(c *Call, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error)
}

// Predeclared returns the names that a definition sees: the builtins of table,
// a constructor for each platform, and struct, json and math.
func (c *Context) Predeclared(table []Builtin) starlark.StringDict {
	c.table = table
	names := starlark.StringDict{
		"struct": starlark.NewBuiltin("struct", starlarkstruct.Make),
		"json":   jsonModule(),
		"math":   math.Module,
	}
	for _, b := range table {
		names[b.Name] = c.Function(b)
	}
	for _, spec := range c.Platforms {
		names[spec.Name] = c.constructor(spec)
	}
	return names
}

// Function returns the builtin b as a function of the definition.
func (c *Context) Function(b Builtin) *starlark.Builtin {
	return starlark.NewBuiltin(b.Name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		return b.call(&Call{Context: c, Name: b.Name, thread: thread}, args, kwargs)
	})
}
