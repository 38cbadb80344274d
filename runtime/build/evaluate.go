package build

import (
	"bytes"
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

	adjust func(*eval.Config) // changes how it is evaluated; may be nil
}

// Evaluate reads a definition and runs nothing: it resolves no origin, so that no
// node has a key, and opens the store only for modules of other teams. Its errors have
// the kind KindDefinition.
func Evaluate(ctx context.Context, c Config, definition string) (*builtins.Definition, error) {
	printed := c.Printed
	if printed == nil {
		printed = io.Discard
	}
	e, err := evaluateOnly(ctx, c, definition, printed)
	if err != nil {
		return nil, &SourceError{e.project, err}
	}
	return e.definition, nil
}

// Look reads a definition as Evaluate does, or, where it reads pins of its origins, with
// these: then they are resolved, as Open does.
func Look(ctx context.Context, c Config, definition string) (d *builtins.Definition, err error) {
	var printed bytes.Buffer
	e, err := evaluateOnly(ctx, c, definition, &printed)
	if e.context != nil && len(e.context.Reads()) > 0 {
		err := Use(ctx, c, definition, func(b *Build) error {
			d = b.Definition
			return nil
		})
		return d, err
	}
	if c.Printed != nil {
		_, writeErr := printed.WriteTo(c.Printed)
		err = errors.Join(err, writeErr)
	}
	if err != nil {
		return nil, &SourceError{e.project, err}
	}
	return e.definition, nil
}

// evaluateOnly reads a definition without pins.
func evaluateOnly(ctx context.Context, c Config, definition string, printed io.Writer) (e evaluated, err error) {
	err = withModules(c, func(h *Host) (err error) {
		e, err = evaluate(ctx, h, nil, definition, nil, printed)
		return err
	})
	return e, err
}

// withModules calls use with a host whose store is opened where modules of other teams
// need it, and closed.
func withModules(c Config, use func(h *Host) error) (err error) {
	h := &Host{Config: c, notices: notices{notify: c.Notify}}
	defer func() {
		if h.Store != nil {
			err = errors.Join(err, h.Store.Close())
		}
	}()
	return use(h)
}

// evaluate reads a definition whose sources have the pins. known are its modules, nil
// where they are to be found first. With an error it returns what it got to.
func evaluate(ctx context.Context, h *Host, known *modules, file string, pins builtins.Pins, printed io.Writer) (e evaluated, err error) {
	c := &h.Config
	if e.project, err = eval.OpenProject(c.abs(file), c.Dir); err != nil {
		return e, of(KindDefinition, WithHint(err, otherDefinition(c, file)))
	}
	if err := e.load(ctx, h, known); err != nil {
		return e, err
	}
	return e, e.run(ctx, c, pins, printed)
}

// load gives the project the modules that it loads.
func (e *evaluated) load(ctx context.Context, h *Host, known *modules) (err error) {
	if e.modules = known; known == nil {
		if e.modules, err = modulesOf(ctx, h, e.project); err != nil {
			return err
		}
	}
	return e.modules.apply(ctx, e.project)
}

// run evaluates the definition of e.project.
func (e *evaluated) run(ctx context.Context, c *Config, pins builtins.Pins, printed io.Writer) error {
	params, err := c.params(e.project)
	if err != nil {
		return of(KindDefinition, err)
	}
	e.context = builtins.New(builtins.Config{Project: e.project, Platforms: c.Platforms, Formats: c.Formats, Params: params, Pins: pins})
	cfg := c.evaluation(e.project, e.context, printed)
	if e.adjust != nil {
		e.adjust(&cfg)
	}
	_, err = eval.Run(ctx, cfg)
	if failures := e.context.Failures(); err != nil && failures != nil && !eval.IsLimit(err) && ctx.Err() == nil {
		err = failures // which the last error follows from
	}
	if err == nil {
		e.definition, err = e.context.Finish()
	}
	return of(KindDefinition, err)
}

// evaluation says how the definition of a project is evaluated in a context.
func (c *Config) evaluation(project *eval.Project, context *builtins.Context, printed io.Writer) eval.Config {
	return eval.Config{
		Project:     project,
		Predeclared: context.Predeclared(c.Builtins),
		Std:         stdlib.FS,
		Undefined:   context.Undefined,
		Print:       func(pos plan.Pos, text string) { fmt.Fprintf(printed, "%s: %s\n", pos, text) },
	}
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
