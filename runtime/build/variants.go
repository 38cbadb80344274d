package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
)

// A Checked is what Check found in one definition.
type Checked struct {
	Project  *eval.Project // its sources; nil where none was found
	Problems []Problem     // each once, in the order of their finding
	Unused   []*plan.Error // layers that nothing uses, without a value chosen
	Missing  []string      // parameters that have to be given, without which nothing was checked
	Params   []string      // parameters that were declared
	Runs     int           // how often the definition was evaluated
	Partial  bool          // not every combination was
}

// A Problem is an error of a definition.
type Problem struct {
	Err  error
	With string // the values with which it appears, such as "size=large"; "" without any
}

// maxVariants is how many combinations of values are tried. Where there are more,
// each value is tried once, with the defaults of all other parameters.
const maxVariants = 64

// Check evaluates a definition with every combination of the choices of its
// parameters, true and false of those that are a bool. It runs nothing, and resolves
// no origin. A parameter that c gives has that value only; one that c gives and the
// definition lacks is no error. Modules are taken from the store where c is offline.
// The error is about the check itself.
func Check(ctx context.Context, c Config, definition string) (*Checked, error) {
	k := &checker{config: c, definition: definition, Checked: &Checked{}, told: map[string]bool{}, tried: map[string]bool{}}
	queue := []map[string]string{{}}
	for len(queue) > 0 && k.Runs < 2*maxVariants {
		values := queue[0]
		queue = queue[1:]
		if id := show(values); k.tried[id] {
			continue
		} else {
			k.tried[id] = true
		}
		params, err := k.evaluate(ctx, values)
		if err != nil || ctx.Err() != nil {
			return k.Checked, errors.Join(err, context.Cause(ctx))
		}
		// A value may lead to parameters that no other leads to.
		if ids := names(params); !k.tried[ids] {
			k.tried[ids] = true
			queue = append(queue, k.variants(params)...)
		}
	}
	k.Partial = k.Partial || len(queue) > 0
	return k.Checked, nil
}

// A checker is the work on one definition.
type checker struct {
	config     Config
	definition string
	*Checked
	told  map[string]bool // problems
	tried map[string]bool // combinations of values, and lists of parameters
}

// evaluate evaluates the definition with the values and returns its parameters.
func (k *checker) evaluate(ctx context.Context, values map[string]string) ([]*builtins.Param, error) {
	h := &Host{Config: k.config, notices: notices{notify: k.config.Notify}}
	h.chosen = values
	e, err := evaluate(ctx, h, nil, k.definition, nil, io.Discard)
	k.Runs++
	if h.Store != nil {
		if closed := h.Store.Close(); closed != nil {
			return nil, closed
		}
	}
	if e.project != nil {
		k.Project = e.project
	}
	if ctx.Err() != nil {
		return nil, nil
	}
	with := show(values)
	for _, one := range parts(err) {
		var missing *builtins.MissingError
		if errors.As(one, &missing) {
			if !slices.Contains(k.Missing, missing.Name) {
				k.Missing = append(k.Missing, missing.Name)
			}
			continue
		}
		if !k.told[one.Error()] {
			k.told[one.Error()] = true
			k.Problems = append(k.Problems, Problem{one, with})
		}
	}
	if err == nil && len(values) == 0 {
		k.Unused = unused(e.project, e.definition.Plan)
	}
	if e.context == nil {
		return nil, nil
	}
	declared := e.context.Declared()
	for _, p := range declared {
		if !slices.Contains(k.Params, p.Name) {
			k.Params = append(k.Params, p.Name)
		}
	}
	return k.chosenFrom(declared), nil
}

// chosenFrom returns the parameters whose values can be chosen, and takes those that
// have choices off the list of what is missing.
func (k *checker) chosenFrom(params []*builtins.Param) []*builtins.Param {
	params = slices.DeleteFunc(slices.Clone(params), func(p *builtins.Param) bool {
		return p.From != "" && p.From != "bake check" || len(valuesOf(p)) == 0
	})
	k.Missing = slices.DeleteFunc(k.Missing, func(name string) bool {
		return slices.ContainsFunc(params, func(p *builtins.Param) bool { return p.Name == name })
	})
	return params
}

// valuesOf returns the values of a parameter that are tried.
func valuesOf(p *builtins.Param) []string {
	if p.Type == "bool" && len(p.Choices) == 0 {
		return []string{"true", "false"}
	}
	return p.Choices
}

// variants returns the combinations of the values of params.
func (k *checker) variants(params []*builtins.Param) []map[string]string {
	all := []map[string]string{{}}
	for _, p := range params {
		var next []map[string]string
		for _, one := range all {
			for _, value := range valuesOf(p) {
				next = append(next, choose(one, p, value))
			}
		}
		if all = next; len(all) > maxVariants {
			k.Partial = true
			return single(params)
		}
	}
	return all
}

// single returns each value of each parameter once, with the first one of others that
// have no default.
func single(params []*builtins.Param) []map[string]string {
	base := map[string]string{}
	for _, p := range params {
		if _, required := p.DefaultText(); required {
			base[p.Name] = valuesOf(p)[0]
		}
	}
	var all []map[string]string
	for _, p := range params {
		for _, value := range valuesOf(p) {
			all = append(all, choose(base, p, value))
		}
	}
	return all
}

// choose returns values with one more, unless that is the default.
func choose(values map[string]string, p *builtins.Param, value string) map[string]string {
	values = maps.Clone(values)
	if text, required := p.DefaultText(); required || text != value {
		values[p.Name] = value
	}
	return values
}

// show writes values as -p takes them.
func show(values map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		all = append(all, name+"="+values[name])
	}
	return strings.Join(all, " ")
}

// names identifies a list of parameters; it is no combination of values.
func names(params []*builtins.Param) string {
	all := "parameters"
	for _, p := range params {
		all += fmt.Sprintf(" %s", p.Name)
	}
	return all
}

// parts returns the errors that err joins, one by one.
func parts(err error) []error {
	switch e := err.(type) {
	case nil:
		return nil
	case *Error:
		return parts(e.Err)
	case *SourceError:
		return parts(e.Err)
	case interface{ Unwrap() []error }:
		var all []error
		for _, one := range e.Unwrap() {
			all = append(all, parts(one)...)
		}
		return all
	}
	return []error{err}
}
