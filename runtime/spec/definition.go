package spec

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/spell"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/diag"
	"bake.build/bake/starlark/eval"
	"go.starlark.net/starlark"
)

// A definition is an evaluated file, as a value of the language.
type definition struct {
	*builtins.Definition
	file    string
	context *builtins.Context
	globals starlark.StringDict
}

var _ starlark.HasAttrs = (*definition)(nil)

func (d *definition) String() string        { return fmt.Sprintf("definition(%q)", d.file) }
func (d *definition) Type() string          { return "definition" }
func (d *definition) Freeze()               {}
func (d *definition) Truth() starlark.Bool  { return true }
func (d *definition) Hash() (uint32, error) { return 0, errors.New("unhashable: definition") }

// AttrNames implements starlark.HasAttrs.
func (d *definition) AttrNames() []string {
	return []string{"artifacts", "globals", "params", "secrets", "tests"}
}

// Attr implements starlark.HasAttrs.
func (d *definition) Attr(name string) (starlark.Value, error) {
	m := starlark.NewDict(0)
	var names []starlark.Value
	switch name {
	case "artifacts":
		for _, a := range d.Artifacts {
			if err := m.SetKey(starlark.String(a.Name), d.context.ArtifactNamed(a.Name)); err != nil {
				return nil, err
			}
		}
		return m, nil
	case "params":
		for _, p := range d.Params {
			if err := m.SetKey(starlark.String(p.Name), p.Value()); err != nil {
				return nil, err
			}
		}
		return m, nil
	case "globals":
		for _, name := range slices.Sorted(slices.Values(d.globals.Keys())) {
			if err := m.SetKey(starlark.String(name), d.globals[name]); err != nil {
				return nil, err
			}
		}
		return m, nil
	case "tests":
		for _, t := range d.Tests {
			names = append(names, starlark.String(t.Name))
		}
		return starlark.NewList(names), nil
	case "secrets":
		for _, s := range d.Secrets {
			names = append(names, starlark.String(s.Name))
		}
		return starlark.NewList(names), nil
	}
	return nil, nil
}

type definitionArgs struct {
	File      string         `bake:"file" help:"The file, relative to that of the test." default:"images.star"`
	Params    starlark.Value `bake:"params,keyword" help:"Values of parameters by name, as a file of parameters would give them. No others are seen: neither the environment's nor the command line's."`
	Platforms starlark.Value `bake:"platforms,keyword" help:"Platforms in place of others, by the name of the constructor: {\"aws\": rootfs()}, or a function that is called with the arguments."`
	Replace   starlark.Value `bake:"replace,keyword" help:"Functions in place of builtins, by name, such as {\"source\": lambda platform, **origin: source(rootfs(), debian = \"bookworm\")}."`
}

func (t *T) definitionMethod() builtins.Builtin {
	return builtins.Declare("t.definition", `Evaluates another file and returns what it defines: artifacts by name, the names of tests and secrets, params and globals by name.

Its layers and artifacts are values as if the test had made them: t.plan(d.artifacts["web"]). It is evaluated anew by each call. Where it fails the call does, for t.fails to see.`, "definition",
		func(c *builtins.Call, a *definitionArgs) (starlark.Value, error) {
			file := a.File
			if file == "" {
				file = "images.star"
			}
			path, err := c.Place().Path(file)
			if err != nil {
				return nil, fmt.Errorf("file: %w", err)
			}
			params, err := paramsOf(a.Params)
			if err != nil {
				return nil, fmt.Errorf("params: %w", err)
			}
			return t.define(c, path, params, a)
		})
}

func paramsOf(v starlark.Value) (map[string]builtins.ParamInput, error) {
	params := map[string]builtins.ParamInput{}
	if v == nil {
		return params, nil
	}
	d, ok := v.(starlark.IterableMapping)
	if !ok {
		return nil, fmt.Errorf("got %s, want a dict", v.Type())
	}
	for k, x := range starlark.Entries(d) {
		name, ok := starlark.AsString(k)
		if !ok {
			return nil, fmt.Errorf("got a %s for the name of a parameter", k.Type())
		}
		given, err := builtins.GiveParam(x, "the test")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		params[name] = given
	}
	return params, nil
}

// define evaluates the file at path in a context within that of the test.
func (t *T) define(c *builtins.Call, path string, params map[string]builtins.ParamInput, a *definitionArgs) (starlark.Value, error) {
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	over := eval.Over(c.Thread())
	go func() { // the limits of the test hold for what it evaluates
		select {
		case <-over:
			cancel()
		case <-ctx.Done():
		}
	}()
	p, err := t.open(ctx, path)
	if err != nil {
		return nil, err
	}
	within := t.context.Within(t.runner.trials.Context(p, params))
	cfg := t.runner.trials.Evaluation(p, within, &printer{t})
	t.runner.limits(&cfg)
	if err := replace(cfg.Predeclared, a.Platforms, true); err != nil {
		return nil, fmt.Errorf("platforms: %w", err)
	}
	if err := replace(cfg.Predeclared, a.Replace, false); err != nil {
		return nil, fmt.Errorf("replace: %w", err)
	}
	d := &definition{file: a.File, context: within}
	d.globals, err = eval.Run(ctx, cfg)
	if failures := within.Failures(); err != nil && failures != nil && !eval.IsLimit(err) {
		err = failures
	}
	if err == nil {
		d.Definition, err = within.Finish()
	}
	if err != nil && t.ctx.Err() == nil && !eval.IsLimit(err) {
		err = calledFrom(c.Pos(), err)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// calledFrom returns an error of a definition with the calls of the test that led to it.
func calledFrom(calls []plan.Pos, err error) error {
	var errs []error
	for _, d := range diag.Of(err) {
		located := error(&plan.Error{Pos: slices.Concat(d.Stack, calls), Err: errors.New(d.Message)})
		if d.Hint != "" {
			located = build.WithHint(located, d.Hint)
		}
		errs = append(errs, located)
	}
	return errors.Join(errs...)
}

// replace puts values of the test in place of names that the definition sees.
func replace(names starlark.StringDict, with starlark.Value, constant bool) error {
	if with == nil {
		return nil
	}
	d, ok := with.(starlark.IterableMapping)
	if !ok {
		return fmt.Errorf("got %s, want a dict", with.Type())
	}
	for k, v := range starlark.Entries(d) {
		name, _ := starlark.AsString(k)
		if _, known := names[name]; !known {
			return fmt.Errorf("a definition sees no %s%s", k, spell.Hint(name, "there are", names.Keys()))
		}
		_, callable := v.(starlark.Callable)
		switch {
		case callable:
			names[name] = v
		case constant && v.Type() == "platform":
			names[name] = starlark.NewBuiltin(name, func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
				return v, nil
			})
		default:
			return fmt.Errorf("%s: got %s, want a function", name, v.Type())
		}
	}
	return nil
}
