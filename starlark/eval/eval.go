package eval

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"time"

	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// The limits that hold when a Config names none.
const (
	DefaultMaxSteps  = 50_000_000
	DefaultMaxMemory = 1 << 30 // bytes
	DefaultMaxTime   = time.Minute
)

// A Config says how a definition is evaluated.
type Config struct {
	// Project is the tree that the definition belongs to.
	Project *Project

	// Predeclared are the names that every module sees.
	Predeclared starlark.StringDict

	// Std is the library @bake.
	Std fs.FS

	// Undefined returns what to say of a name that is not defined, or "".
	Undefined func(name string) string

	// Print takes what the definition prints. When it is nil, it is dropped.
	Print func(pos plan.Pos, text string)

	// Rewrite may add to a file that was parsed, called as positions show it, before it
	// is compiled. It may be nil.
	Rewrite func(name string, f *syntax.File)

	// Then is called when the definition was evaluated, on its thread and within its
	// limits, with its globals. It may be nil.
	Then func(thread *starlark.Thread, globals starlark.StringDict) error

	MaxSteps  uint64 // of the interpreter; 0 means DefaultMaxSteps
	MaxMemory uint64 // bytes of heap that evaluation may add; 0 means DefaultMaxMemory

	// MaxTime is how long evaluation may take, what it reads included; 0 means
	// DefaultMaxTime. Steps bound it long before, but for operations that take
	// long by themselves.
	MaxTime time.Duration
}

// A run is the evaluation of one definition.
type run struct {
	cfg     Config
	thread  *starlark.Thread
	modules map[string]*module // by name
	loading []*module          // being evaluated, outermost first
	over    chan struct{}      // closed when Run returns
}

// Run evaluates the project's definition and returns its globals. An error of
// the definition is a *starlark.EvalError, a syntax.Error, a
// resolve.ErrorList or a *plan.Error; see package diag. When a limit is
// reached or ctx ends and evaluation does not stop within a short time, since
// it is inside one very long operation, Run returns all the same and leaves
// that operation behind: the caller is expected to end the process.
func Run(ctx context.Context, cfg Config) (starlark.StringDict, error) {
	if cfg.MaxSteps == 0 {
		cfg.MaxSteps = DefaultMaxSteps
	}
	if cfg.MaxMemory == 0 {
		cfg.MaxMemory = DefaultMaxMemory
	}
	if cfg.MaxTime == 0 {
		cfg.MaxTime = DefaultMaxTime
	}
	r := &run{cfg: cfg, modules: map[string]*module{}, over: make(chan struct{})}
	defer close(r.over)
	r.cfg.Predeclared = guards()
	maps.Copy(r.cfg.Predeclared, cfg.Predeclared)
	r.thread = r.newThread()
	main := r.file(cfg.Project.Tree, cfg.Project.Definition)

	var globals starlark.StringDict
	err := r.limited(ctx, func() (err error) {
		globals, err = r.exec(main)
		if err == nil && r.cfg.Then != nil {
			err = r.cfg.Then(r.thread, globals)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return globals, nil
}

func (r *run) newThread() *starlark.Thread {
	thread := &starlark.Thread{Name: "definition"}
	thread.SetLocal(overName, r.over)
	thread.SetLocal(runName, r)
	thread.Load = func(_ *starlark.Thread, name string) (starlark.StringDict, error) {
		return r.load(r.loading[len(r.loading)-1], name)
	}
	thread.Print = func(thread *starlark.Thread, text string) {
		if r.cfg.Print == nil {
			return
		}
		var pos plan.Pos
		if stack := Stack(thread); len(stack) > 0 {
			pos = stack[0]
		}
		r.cfg.Print(pos, text)
	}
	thread.SetMaxExecutionSteps(r.cfg.MaxSteps)
	thread.OnMaxSteps = func(thread *starlark.Thread) {
		Stop(thread, &LimitError{What: "steps", Limit: r.cfg.MaxSteps})
	}
	return thread
}

// Stack returns the call stack of thread, innermost first, without the frames
// of builtins. It is called by the goroutine that runs the thread.
func Stack(thread *starlark.Thread) []plan.Pos {
	depth := thread.CallStackDepth()
	stack := make([]plan.Pos, 0, depth)
	for i := range depth {
		stack = appendFrame(stack, thread.CallFrame(i))
	}
	return stack
}

// overName is the key of the thread's local that is closed when Run returns.
const overName = "bake.over"

// Over returns a channel that is closed when the evaluation has ended or was
// given up: a builtin that does much by itself then need not go on. It is called by the
// goroutine that runs the thread.
func Over(thread *starlark.Thread) <-chan struct{} {
	over, _ := thread.Local(overName).(chan struct{})
	return over
}

// stopped is the key of the thread's local that holds why it was stopped.
const stopped = "bake.stopped"

// Stop ends the evaluation with err at the place where the thread is. It is
// called by the goroutine that runs the thread, and serves where a function
// cannot return an error, such as a value's String method.
func Stop(thread *starlark.Thread, err error) {
	if thread.Local(stopped) == nil {
		thread.SetLocal(stopped, &plan.Error{Pos: Stack(thread), Err: err})
		thread.Cancel(err.Error())
	}
}

// Resume lets the thread go on after Stop, and returns the reason that was given; nil
// where there was none, or where a limit was reached, after which nothing goes on. It is
// called by the goroutine that runs the thread.
func Resume(thread *starlark.Thread) error {
	why, ok := thread.Local(stopped).(*plan.Error)
	if !ok || IsLimit(why) {
		return nil
	}
	thread.SetLocal(stopped, nil)
	thread.Uncancel()
	return why
}

// cause returns the reason of Stop in place of the error that it led to.
func (r *run) cause(err error) error {
	if why, ok := r.thread.Local(stopped).(*plan.Error); ok {
		return why
	}
	return err
}

// IsLimit reports whether err says that a limit was reached.
func IsLimit(err error) bool {
	var limit *LimitError
	return errors.As(err, &limit)
}
