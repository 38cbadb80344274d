package doc

import (
	"errors"
	"strings"

	"bake.build/bake/starlark/eval"
	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
)

// Free returns the names that code uses and does not define, but for those that are
// predeclared or of the language itself.
func Free(code string, isPredeclared func(name string) bool) ([]string, error) {
	tree, err := eval.Dialect().Parse("example", code, 0)
	if err != nil {
		return nil, err
	}
	err = resolve.File(tree, isPredeclared, starlark.Universe.Has)
	var list resolve.ErrorList
	if err != nil && !errors.As(err, &list) {
		return nil, err
	}
	var names []string
	seen := map[string]bool{}
	for _, e := range list {
		if name, ok := strings.CutPrefix(e.Msg, "undefined: "); ok && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names, nil
}

// Examples returns the examples of the file: in its docstring, and in those of its
// functions.
func (f *File) Examples() []Example {
	out := f.Doc.Examples
	seen := map[int]bool{}
	for _, s := range f.Symbols {
		for _, e := range s.Doc.Examples {
			if s.File == f.Name && !seen[e.Line] {
				seen[e.Line] = true
				out = append(out, e)
			}
		}
	}
	return out
}

// Loadable returns the names that other files can load.
func (f *File) Loadable() []string {
	var names []string
	seen := map[string]bool{}
	for _, s := range f.Symbols {
		if name, _, _ := strings.Cut(s.Name, "."); !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}
