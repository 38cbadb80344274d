package build

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"bake.build/bake/builtins"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
	"bake.build/bake/stdlib"
)

// evaluated is a definition that was read.
type evaluated struct {
	project    *eval.Project
	context    *builtins.Context // says which pins the definition has read; nil when it was not run
	definition *builtins.Definition
}

// Evaluate reads a definition and runs nothing: it opens no store and resolves no
// origin, so that no node has a key. Its errors have the kind KindDefinition.
func Evaluate(ctx context.Context, c Config, definition string) (*builtins.Definition, error) {
	printed := c.Printed
	if printed == nil {
		printed = io.Discard
	}
	e, err := evaluate(ctx, &c, definition, nil, printed)
	if err != nil {
		return nil, &SourceError{e.project, err}
	}
	return e.definition, nil
}

// evaluate reads a definition whose sources have the pins. With an error it returns
// what it got to.
func evaluate(ctx context.Context, c *Config, file string, pins builtins.Pins, printed io.Writer) (e evaluated, err error) {
	if e.project, err = eval.OpenProject(c.abs(file), c.Dir); err != nil {
		return e, of(KindDefinition, WithHint(err, otherDefinition(c, file)))
	}
	return e, e.run(ctx, c, pins, printed)
}

// run evaluates the definition of e.project.
func (e *evaluated) run(ctx context.Context, c *Config, pins builtins.Pins, printed io.Writer) error {
	params, err := c.params(e.project)
	if err != nil {
		return of(KindDefinition, err)
	}
	e.context = builtins.New(builtins.Config{Project: e.project, Platforms: c.Platforms, Formats: c.Formats, Params: params, Pins: pins})
	_, err = eval.Run(ctx, eval.Config{
		Project:     e.project,
		Predeclared: e.context.Predeclared(c.Builtins),
		Std:         stdlib.FS,
		Undefined:   e.context.Undefined,
		Print:       func(pos plan.Pos, text string) { fmt.Fprintf(printed, "%s: %s\n", pos, text) },
	})
	if failures := e.context.Failures(); err != nil && failures != nil && !eval.IsLimit(err) && ctx.Err() == nil {
		err = failures // which the last error follows from
	}
	if err == nil {
		e.definition, err = e.context.Finish()
	}
	return of(KindDefinition, err)
}

// usualDefinition is how a definition is called that nobody called otherwise.
const usualDefinition = "images.star"

// otherDefinition says what to give in place of file, which is no definition.
func otherDefinition(c *Config, file string) string {
	inside := filepath.Join(file, usualDefinition)
	if _, err := os.Stat(c.abs(inside)); err == nil {
		return "the definition in it is " + inside
	}
	return "bake init writes a first definition"
}
