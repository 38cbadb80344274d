package eval

import (
	"errors"

	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

// Frames returns the call stack of an error of a definition, innermost first,
// without the frames of builtins, or nil when err knows none.
func Frames(err error) []plan.Pos {
	var e *starlark.EvalError
	if !errors.As(err, &e) {
		return nil
	}
	return framesOf(innermost(e).CallStack)
}

// innermost returns the error that was first: each module that is loaded wraps
// what happened in it.
func innermost(e *starlark.EvalError) *starlark.EvalError {
	for {
		var inner *starlark.EvalError
		if !errors.As(e.Unwrap(), &inner) {
			return e
		}
		e = inner
	}
}

func framesOf(stack starlark.CallStack) []plan.Pos {
	frames := make([]plan.Pos, 0, len(stack))
	for i := range stack {
		frames = appendFrame(frames, stack.At(i))
	}
	return frames
}

func appendFrame(frames []plan.Pos, f starlark.CallFrame) []plan.Pos {
	if f.Pos.Line == 0 { // a builtin
		return frames
	}
	pos := plan.Pos{File: f.Pos.Filename(), Line: int(f.Pos.Line), Col: int(f.Pos.Col)}
	if f.Name != "<toplevel>" {
		pos.Func = f.Name
	}
	return append(frames, pos)
}
