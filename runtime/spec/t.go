package spec

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
	"go.starlark.net/starlark"
)

// A T is what a test function gets. It belongs to the goroutine that runs the test.
type T struct {
	runner   *runner
	test     Test
	ctx      context.Context
	project  *eval.Project // of the test's file
	projects []*eval.Project
	context  *builtins.Context
	methods  map[string]builtins.Builtin

	failed  []error
	skipped string
	log     []string
}

var _ starlark.HasAttrs = (*T)(nil)

func (t *T) String() string        { return fmt.Sprintf("t(%q)", t.test.Name) }
func (t *T) Type() string          { return "t" }
func (t *T) Freeze()               {}
func (t *T) Truth() starlark.Bool  { return true }
func (t *T) Hash() (uint32, error) { return 0, errors.New("unhashable: t") }

// AttrNames implements starlark.HasAttrs.
func (t *T) AttrNames() []string {
	names := []string{"building", "name"}
	for _, m := range t.table() {
		names = append(names, m.Name[len("t."):])
	}
	slices.Sort(names)
	return names
}

// Attr implements starlark.HasAttrs.
func (t *T) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(t.test.Name), nil
	case "building":
		return starlark.Bool(t.runner.options.Build), nil
	}
	if m, ok := t.table()["t."+name]; ok {
		return t.context.Function(m), nil
	}
	return nil, nil
}

func (t *T) table() map[string]builtins.Builtin {
	if t.methods == nil {
		t.methods = map[string]builtins.Builtin{}
		for _, m := range t.declare() {
			t.methods[m.Name] = m
		}
	}
	return t.methods
}

// Methods returns what a test can call, for the reference.
func Methods() []builtins.Builtin { return (&T{}).declare() }

func (t *T) declare() []builtins.Builtin {
	return []builtins.Builtin{
		t.planMethod(), t.definitionMethod(), t.runMethod(), t.goldenMethod(),
		t.equalMethod(), t.notEqualMethod(), t.trueMethod(), t.falseMethod(), t.containsMethod(), t.matchMethod(), t.failsMethod(),
		t.failMethod(), t.fatalMethod(), t.skipMethod(), t.logMethod(),
	}
}

// maxFailures is how many failures of one test are told.
const maxFailures = 20

// fail notes what is wrong at the line of the call, and returns False.
func (t *T) fail(c *builtins.Call, message, text string) (starlark.Value, error) {
	if message != "" {
		text = message + ": " + text
	}
	err := &plan.Error{Pos: c.Pos(), Err: errors.New(text)}
	if len(t.failed) >= maxFailures {
		return nil, fmt.Errorf("%d assertions have failed, which is enough", len(t.failed)+1)
	}
	t.failed = append(t.failed, err)
	return starlark.False, nil
}

type failArgs struct {
	Message string `bake:"message,required" help:"What is wrong."`
}

func (t *T) failMethod() builtins.Builtin {
	return builtins.Declare("t.fail", "Notes a failure at this line. The test goes on.", "False",
		func(c *builtins.Call, a *failArgs) (starlark.Value, error) { return t.fail(c, "", a.Message) })
}

func (t *T) fatalMethod() builtins.Builtin {
	return builtins.Declare("t.fatal", "Notes a failure at this line and ends the test.", "nothing",
		func(c *builtins.Call, a *failArgs) (starlark.Value, error) {
			if _, err := t.fail(c, "", a.Message); err != nil {
				return nil, err
			}
			return nil, errStop
		})
}

type skipArgs struct {
	Reason string `bake:"reason,required" help:"Why the test is not run."`
}

func (t *T) skipMethod() builtins.Builtin {
	return builtins.Declare("t.skip", "Ends the test. It is told as skipped, unless an assertion has failed before.", "nothing",
		func(c *builtins.Call, a *skipArgs) (starlark.Value, error) {
			t.skipped = a.Reason
			return nil, errStop
		})
}

type logArgs struct {
	Value starlark.Value `bake:"value,required" help:"What to show: a string as it is, another value as it is written."`
}

func (t *T) logMethod() builtins.Builtin {
	return builtins.Declare("t.log", "Shows a value when the test fails, or with --verbose. So does print.", "None",
		func(c *builtins.Call, a *logArgs) (starlark.Value, error) {
			text := a.Value.String()
			if s, ok := starlark.AsString(a.Value); ok {
				text = s
			}
			t.log = append(t.log, fmt.Sprintf("%s: %s", c.Pos()[0], text))
			return starlark.None, nil
		})
}

type failsArgs struct {
	Fn      starlark.Value `bake:"function,required" help:"A function without parameters, such as a lambda."`
	Match   string         `bake:"match" help:"A regular expression that the error must match."`
	Message string         `bake:"message,keyword" help:"What to say when the function does not fail so."`
}

func (t *T) failsMethod() builtins.Builtin {
	return builtins.Declare("t.fails", `Calls a function and expects it to fail.

The error is what a user reads, with its position: t.fails(lambda: apt.install(base, []), "empty") or, of a whole definition, t.fails(lambda: t.definition(params = {"size": "x"}), "size").`,
		"string: the error", func(c *builtins.Call, a *failsArgs) (starlark.Value, error) {
			fn, ok := a.Fn.(starlark.Callable)
			if !ok {
				return nil, fmt.Errorf("function: got %s, want a function", a.Fn.Type())
			}
			match, err := regexp.Compile(a.Match)
			if err != nil {
				return nil, fmt.Errorf("match: %w", err)
			}
			said, err := t.failureOf(c, fn)
			switch {
			case err != nil:
				return nil, err
			case said == nil:
				return t.fail(c, a.Message, "it does not fail")
			case !match.MatchString(said.Error()):
				return t.fail(c, a.Message, fmt.Sprintf("it fails otherwise\nwant a match of: %s\ngot:             %s", a.Match, said))
			}
			return starlark.String(said.Error()), nil
		})
}

// failureOf calls fn and returns how it fails; nil when it does not. err is what ends the
// test: a limit.
func (t *T) failureOf(c *builtins.Call, fn starlark.Callable) (said, err error) {
	before := c.FailureCount()
	_, said = starlark.Call(c.Thread(), fn, nil, nil)
	if eval.IsLimit(said) || errors.Is(said, errStop) || t.ctx.Err() != nil {
		return nil, said
	}
	if why := eval.Resume(c.Thread()); why != nil {
		said = why
	} else if said != nil && isCancelled(said) {
		return nil, said
	}
	// A call that failed lets a definition go on; what follows from it counts less.
	if failures := c.TakeFailures(before); failures != nil {
		said = failures
	}
	return said, nil
}

// isCancelled reports whether the evaluation was stopped from outside or by a limit.
func isCancelled(err error) bool {
	var e *starlark.EvalError
	return errors.As(err, &e) && strings.HasPrefix(e.Msg, "Starlark computation cancelled: ")
}
