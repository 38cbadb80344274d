package build

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/starlark/doc"
	"bake.build/bake/starlark/eval"
)

// An Example is a piece of a definition that documentation shows.
type Example struct {
	doc.Example

	// Path is where it stands as a definition: relative names are seen from there.
	// The file need not exist; its directory does.
	Path string

	// Load is the file that it is an example of, as load names it from Path, and Names
	// are what that file offers. They may be empty.
	Load  string
	Names []string

	// Adjust changes how the example is evaluated; it may be nil.
	Adjust func(*eval.Config)
}

// exampleLayers are names that an example may use without saying what they are.
var exampleLayers = []string{"layer", "base"}

// EvaluateExample evaluates an example to a plan, and runs nothing. It sees the
// builtins, the names of its file and a layer. Errors are SourceErrors, whose positions
// have the lines of the documentation.
func EvaluateExample(ctx context.Context, c Config, x Example) error {
	predeclared := builtins.New(builtins.Config{Platforms: c.Platforms, Formats: c.Formats}).Predeclared(c.Builtins)
	free, _ := doc.Free(x.Code, predeclared.Has) // a syntax error is told below, at its line
	var begin, load []string
	for _, name := range free {
		switch {
		case slices.Contains(x.Names, name):
			load = append(load, fmt.Sprintf("%q", name))
		case slices.Contains(exampleLayers, name):
			begin = append(begin, name+` = source(rootfs(), debian = "bookworm")`)
		}
	}
	if len(load) > 0 {
		begin = append(begin, fmt.Sprintf("load(%q, %s)", x.Load, strings.Join(load, ", ")))
	}
	text := strings.Repeat("\n", max(0, x.Line-2)) + strings.Join(begin, "; ") + "\n" + x.Code
	name := filepath.Join(filepath.Dir(x.Path), "example in "+filepath.Base(x.Path))
	project, err := eval.OpenText(name, []byte(text), c.Dir)
	if err != nil {
		return of(KindDefinition, err)
	}
	e := evaluated{project: project, adjust: x.Adjust}
	err = withModules(c, func(h *Host) error {
		if err := e.load(ctx, h, nil); err != nil {
			return err
		}
		return e.run(ctx, &c, nil, io.Discard)
	})
	if err != nil {
		return &SourceError{project, err}
	}
	return nil
}

// ModuleDir returns where the files are of the module that the project of the working
// directory loads as @name. They are fetched first when they are not in the store.
func ModuleDir(ctx context.Context, c Config, name string) (dir string, err error) {
	project, err := eval.OpenText(filepath.Join(c.Dir, usualDefinition), []byte{}, c.Dir)
	if err != nil {
		return "", of(KindDefinition, err)
	}
	e := evaluated{project: project}
	if err := withModules(c, func(h *Host) error { return e.load(ctx, h, nil) }); err != nil {
		return "", &SourceError{project, err}
	}
	tree, ok := project.Tree.Loads[name]
	if !ok {
		return "", of(KindUsage, WithHint(fmt.Errorf("@%s is not known", name), project.Tree.Unknown(name)))
	}
	return tree.Root, nil
}
