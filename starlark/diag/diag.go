package diag

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"bake.build/bake/internal/printable"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// A Diagnostic is what is shown of one error.
type Diagnostic struct {
	Stack   []plan.Pos // where it happened and the calls that led there, innermost first; may be empty
	Message string     // one line, or several
	Log     []string   // the last lines of the failed step's log
	LogPath string     // the file with the full log; "" when there is none
	Hint    string     // what may help; may be ""
}

// printable returns d with nothing in it that a terminal would obey: a
// definition, a step's log and names of files are what somebody else wrote.
func (d Diagnostic) printable() Diagnostic {
	stack, log := slices.Clone(d.Stack), slices.Clone(d.Log)
	for i := range stack {
		stack[i].File, stack[i].Func = printable.Name(stack[i].File), printable.OneLine(stack[i].Func)
	}
	for i := range log {
		log[i] = printable.Line([]byte(log[i]))
	}
	return Diagnostic{
		Stack: stack, Message: printable.Text(d.Message), Log: log,
		LogPath: printable.Name(d.LogPath), Hint: printable.Text(d.Hint),
	}
}

// A Hinter is an error that knows what may help.
type Hinter interface {
	error
	Hint() string
}

// A Logger is an error of something that wrote a log.
type Logger interface {
	error
	// Log returns the last lines of the log and the path of the file that has all
	// of it; either may be empty.
	Log() (tail []string, path string)
}

// Of returns the diagnostics of err, at least one unless err is nil. Errors
// that are joined are shown one by one.
func Of(err error) []Diagnostic {
	err = peel(err)
	switch e := err.(type) {
	case nil:
		return nil
	case resolve.ErrorList:
		return ofResolver(e)
	case interface{ Unwrap() []error }:
		if isJoin(err, e.Unwrap()) {
			var list []Diagnostic
			for _, one := range e.Unwrap() {
				list = append(list, Of(one)...)
			}
			return list
		}
	}
	if list := inModule(err); list != nil {
		return list
	}
	d := Diagnostic{Message: message(err), Stack: stackOf(err)}
	if h := Hinter(nil); errors.As(err, &h) {
		d.Hint = h.Hint()
	}
	if l := Logger(nil); errors.As(err, &l) {
		d.Log, d.LogPath = l.Log()
	}
	return []Diagnostic{d}
}

// maxNames is how many errors of the resolver are shown of one file.
const maxNames = 10

// ofResolver is the diagnostics of what is wrong with the names of a file, in
// the order of its lines.
func ofResolver(e resolve.ErrorList) []Diagnostic {
	sorted := slices.SortedStableFunc(slices.Values(e), func(a, b resolve.Error) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col))
	})
	var list []Diagnostic
	for i, one := range sorted {
		if i == maxNames {
			list[i-1].Hint = fmt.Sprintf("%d more errors like these follow", len(sorted)-maxNames)
			break
		}
		list = append(list, Diagnostic{Stack: position(one.Pos), Message: one.Msg})
	}
	return list
}

// peel takes off what wraps an error without a word of its own.
func peel(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil || inner.Error() != err.Error() {
			return err
		}
		switch err.(type) {
		case *starlark.EvalError, Hinter, Logger:
			return err
		}
		err = inner
	}
}

// isJoin reports whether err says no more than the errors that it joins.
func isJoin(err error, parts []error) bool {
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = p.Error()
	}
	return err.Error() == strings.Join(texts, "\n")
}

// inModule returns the diagnostics of an error that has a position of its own
// inside of a module that was being loaded, or nil.
func inModule(err error) []Diagnostic {
	calls := eval.Frames(err)
	var list resolve.ErrorList
	if errors.As(err, &list) {
		diags := Of(list)
		for i := range diags {
			diags[i].Stack = append(diags[i].Stack, calls...)
		}
		return diags
	}
	var syn syntax.Error
	if errors.As(err, &syn) {
		d := Diagnostic{Stack: append(position(syn.Pos), calls...), Message: syn.Msg}
		if h := Hinter(nil); errors.As(err, &h) {
			d.Hint = h.Hint()
		}
		return []Diagnostic{d}
	}
	return nil
}

func position(p syntax.Position) []plan.Pos {
	return []plan.Pos{{File: p.Filename(), Line: int(p.Line), Col: int(p.Col)}}
}

func stackOf(err error) []plan.Pos {
	var e *plan.Error
	if errors.As(err, &e) && len(e.Pos) > 0 {
		return e.Pos
	}
	return eval.Frames(err)
}

// message is what err says without the positions that the stack shows.
func message(err error) string {
	var located *plan.Error
	var evaluated *starlark.EvalError
	switch {
	case errors.As(err, &located):
		// What wraps the located error stays in front of what it says.
		before, after, ok := strings.Cut(err.Error(), located.Error())
		if ok {
			return before + located.Err.Error() + after
		}
		return located.Err.Error()
	case errors.As(err, &evaluated):
		return ofLibrary(strings.TrimPrefix(innermost(evaluated), "Starlark computation cancelled: "), eval.Frames(err))
	}
	return err.Error()
}

// ofLibrary is an error of a library as its user reads it: it is shown at the
// user's call, where the word fail and the names of private functions say nothing.
func ofLibrary(msg string, stack []plan.Pos) string {
	if len(stack) == 0 || !strings.HasPrefix(stack[0].File, "@") {
		return msg
	}
	if said, ok := strings.CutPrefix(msg, "fail: "); ok {
		return said
	}
	if m := private.FindStringSubmatch(msg); m != nil {
		return m[1] + ": " + m[2]
	}
	return msg
}

// private matches what is said of wrong arguments of a library's private function.
var private = regexp.MustCompile(`^function _(\w+) ((?:missing|accepts|got) .*)$`)

// innermost is what the first of nested errors says: each module that is
// loaded repeats what happened in it.
func innermost(e *starlark.EvalError) string {
	for {
		var inner *starlark.EvalError
		if !errors.As(e.Unwrap(), &inner) {
			return e.Msg
		}
		e = inner
	}
}
