package spec

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"bake.build/bake/builtins"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// run runs one test.
func (r *runner) run(ctx context.Context, test Test) Result {
	begin := time.Now()
	if test.example != nil {
		return r.evaluateExample(ctx, test)
	}
	t := &T{runner: r, test: test, ctx: ctx}
	err := test.err
	if err == nil {
		err = t.evaluate(ctx)
	}
	result := Result{Test: test, Status: Passed, Elapsed: time.Since(begin), Source: t.source, Errors: t.failed, Log: t.log}
	if errors.Is(err, errStop) {
		err = nil
	}
	if t.context != nil {
		err = errors.Join(t.context.Failures(), err)
	}
	if err != nil {
		result.Errors = append(result.Errors, present(err))
	}
	switch {
	case len(result.Errors) > 0:
		result.Status = Failed
	case t.skipped != "":
		result.Status, result.Reason = Skipped, t.skipped
	}
	return result
}

// evaluateExample evaluates an example to a plan.
func (r *runner) evaluateExample(ctx context.Context, test Test) Result {
	result := Result{Test: test, Status: Passed, Source: (&T{}).source}
	begin := time.Now()
	example := *test.example
	example.Adjust = r.exampleLimits
	err := build.EvaluateExample(ctx, r.trials.Config, example)
	result.Elapsed = time.Since(begin)
	if err == nil {
		return result
	}
	result.Status = Failed
	if at := (*build.SourceError)(nil); errors.As(err, &at) {
		if err = at.Err; at.Project != nil {
			result.Source = at.Project.Source
		}
	}
	result.Errors = []error{present(err)}
	return result
}

// present takes the kind off an error, which its renderer does not know.
func present(err error) error {
	var known *build.Error
	if errors.As(err, &known) && known.Error() == err.Error() {
		return known.Err
	}
	return err
}

// errStop ends a test without an error of its own.
var errStop = errors.New("the test has ended")

// The limits of one test.
const (
	defaultTimeout = time.Minute
	buildTimeout   = time.Hour
	coverSteps     = 4 // what counting takes, as a factor
)

// timeout returns the time limit of a test.
func (r *runner) timeout() time.Duration {
	if r.options.Build {
		return cmp.Or(r.options.Timeout, buildTimeout)
	}
	return cmp.Or(r.options.Timeout, defaultTimeout)
}

// A timeoutError says that a test has reached its time limit, be it in the interpreter or
// in a build.
type timeoutError struct{ limit *eval.LimitError }

func (e *timeoutError) Error() string {
	return fmt.Sprintf("the test takes longer than %v, which is its time limit (--timeout)", time.Duration(e.limit.Limit))
}

// Unwrap has eval.IsLimit know the error.
func (e *timeoutError) Unwrap() error { return e.limit }

// endGrace is how long a machine may take to end after the time limit of its test. What
// does not heed that is left behind.
const endGrace = 30 * time.Second

// limits sets the limits of an evaluation of a test. That of time is the test's own.
func (r *runner) limits(c *eval.Config) {
	c.MaxTime = r.timeout() + endGrace
	c.MaxSteps = cmp.Or(r.options.MaxSteps, eval.DefaultMaxSteps)
	if r.options.Cover != nil {
		c.MaxSteps *= coverSteps
		r.options.Cover.addTo(c)
	}
}

// exampleLimits sets the limits of an evaluation of an example, whose own lines do not
// count.
func (r *runner) exampleLimits(c *eval.Config) {
	r.limits(c)
	c.MaxTime = r.timeout()
	if count := c.Rewrite; count != nil {
		itself := c.Project.Show(c.Project.Definition)
		c.Rewrite = func(name string, f *syntax.File) {
			if name != itself {
				count(name, f)
			}
		}
	}
}

// evaluate evaluates the file of the test and calls its function.
func (t *T) evaluate(parent context.Context) error {
	limit := t.runner.timeout()
	ctx, cancel := context.WithTimeoutCause(parent, limit, &timeoutError{&eval.LimitError{What: "time", Limit: uint64(limit)}})
	defer cancel()
	t.ctx = ctx
	p, err := t.open(ctx, t.test.File)
	if err != nil {
		return err
	}
	t.project = p
	t.context = builtins.New(t.runner.trials.Context(p, nil))
	printed := &printer{t}
	c := t.runner.trials.Evaluation(p, t.context, printed)
	t.runner.limits(&c)
	c.Then = t.call
	_, err = eval.Run(parent, c) // call heeds the time limit
	return err
}

// call calls the test's function.
func (t *T) call(thread *starlark.Thread, globals starlark.StringDict) error {
	fn, ok := globals[t.test.Name].(*starlark.Function)
	if !ok {
		at := plan.Pos{File: t.test.Show, Line: t.test.Line, Col: 1}
		if globals[t.test.Name] == nil {
			return &plan.Error{Pos: []plan.Pos{at}, Err: fmt.Errorf("%s was not defined", t.test.Name)}
		}
		return &plan.Error{Pos: []plan.Pos{at}, Err: fmt.Errorf("%s: got %s, want a function of t", t.test.Name, globals[t.test.Name].Type())}
	}
	if fn.NumParams() != 1 || fn.HasVarargs() || fn.HasKwargs() {
		pos := fn.Position()
		at := plan.Pos{File: pos.Filename(), Line: int(pos.Line), Col: int(pos.Col)}
		return &plan.Error{Pos: []plan.Pos{at}, Err: fmt.Errorf("%s takes %d parameters, want the one t", t.test.Name, fn.NumParams())}
	}
	if err := t.context.Failures(); err != nil {
		return errStop // told as they are
	}
	// Stopped so, an error has the line that the test was in.
	stop := context.AfterFunc(t.ctx, func() { thread.Cancel(context.Cause(t.ctx).Error()) })
	defer stop()
	_, err := starlark.Call(thread, fn, starlark.Tuple{t}, nil)
	return err
}

// open finds the project of a file, whose sources errors of the test may name.
func (t *T) open(ctx context.Context, file string) (*eval.Project, error) {
	p, err := t.runner.trials.Open(ctx, file)
	if p != nil {
		t.projects = append(t.projects, p)
	}
	return p, err
}

func (t *T) source(file string) ([]byte, error) {
	if file == t.test.Show && t.test.text != nil {
		return t.test.text, nil
	}
	for _, p := range t.projects {
		if text, err := p.Source(file); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("source of %s: %w", file, fs.ErrNotExist)
}

// A printer adds what a definition prints to the log of its test.
type printer struct{ t *T }

func (p *printer) Write(b []byte) (int, error) {
	p.t.log = append(p.t.log, strings.TrimRight(string(bytes.ToValidUTF8(b, []byte("\uFFFD"))), "\n"))
	return len(b), nil
}
