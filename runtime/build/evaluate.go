package build

import (
	"context"
	"errors"
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
	modules    *modules          // what it loads of other modules
	context    *builtins.Context // says which pins the definition has read; nil when it was not run
	definition *builtins.Definition
}

// Evaluate reads a definition and runs nothing: it resolves no origin, so that no
// node has a key, and opens the store only for modules of other teams. Its errors have
// the kind KindDefinition.
func Evaluate(ctx context.Context, c Config, definition string) (_ *builtins.Definition, err error) {
	printed := c.Printed
	if printed == nil {
		printed = io.Discard
	}
	h := &Host{Config: c, notices: notices{notify: c.Notify}}
	defer func() {
		if h.Store != nil {
			err = errors.Join(err, h.Store.Close())
		}
	}()
	e, err := evaluate(ctx, h, nil, definition, nil, printed)
	if err != nil {
		return nil, &SourceError{e.project, err}
	}
	return e.definition, nil
}

// evaluate reads a definition whose sources have the pins. known are its modules, nil
// where they are to be found first. With an error it returns what it got to.
func evaluate(ctx context.Context, h *Host, known *modules, file string, pins builtins.Pins, printed io.Writer) (e evaluated, err error) {
	c := &h.Config
	if e.project, err = eval.OpenProject(c.abs(file), c.Dir); err != nil {
		return e, of(KindDefinition, WithHint(err, otherDefinition(c, file)))
	}
	if e.modules = known; known == nil {
		if e.modules, err = modulesOf(ctx, h, e.project); err != nil {
			return e, err
		}
	}
	if err := e.modules.apply(ctx, e.project); err != nil {
		return e, err
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
