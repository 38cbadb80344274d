package builtins

import (
	"errors"
	"fmt"

	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

// maxErrors is how many errors of builtins one evaluation collects.
const maxErrors = 10

// A broken value stands for a layer or an artifact whose call failed, so that
// the definition can be evaluated further and all its mistakes told at once.
// Calls with a broken argument do nothing and return one.
type broken struct{}

var _ starlark.HasAttrs = broken{}

func (broken) String() string                      { return "(what failed above)" }
func (broken) Type() string                        { return "broken" }
func (broken) Freeze()                             {}
func (broken) Truth() starlark.Bool                { return true }
func (broken) Hash() (uint32, error)               { return 0, nil }
func (broken) AttrNames() []string                 { return nil }
func (broken) Attr(string) (starlark.Value, error) { return broken{}, nil }

// hasBroken reports whether an argument of a call is broken.
func hasBroken(args starlark.Tuple, kwargs []starlark.Tuple) bool {
	for _, v := range args {
		if isBroken(v) {
			return true
		}
	}
	for _, kv := range kwargs {
		if isBroken(kv[1]) {
			return true
		}
	}
	return false
}

func isBroken(v starlark.Value) bool {
	_, ok := v.(broken)
	return ok
}

// inPlace returns what stands for the result of a failed call, or nil where
// nothing can: the definition computes with the results of other builtins.
func inPlace(returns string) starlark.Value {
	switch returns {
	case "layer", "artifact":
		return broken{}
	case "None":
		return starlark.None
	}
	return nil
}

// goOn notes the failure of a call and returns what stands for its result. Where
// nothing can, or there are too many failures already, it returns the error.
func (c *Call) goOn(err error, returns string) (starlark.Value, error) {
	err = fmt.Errorf("%s: %w", c.Name, err)
	v := inPlace(returns)
	if v == nil || len(c.failures) >= maxErrors {
		return nil, err
	}
	located := &plan.Error{Pos: c.Pos(), Err: err}
	for _, known := range c.failures { // as in a loop
		if known.Error() == located.Error() {
			return v, nil
		}
	}
	c.failures = append(c.failures, located)
	return v, nil
}

// Failures returns the errors of the calls that failed so far, joined, or nil.
// An error of the evaluation that comes after them may follow from them.
func (c *Context) Failures() error { return errors.Join(c.failures...) }
