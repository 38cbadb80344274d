package spec

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/event"
)

// Options say which tests are run, and how.
type Options struct {
	Paths  []string       // files and directories as seen from the configuration's
	Match  *regexp.Regexp // which tests, by their IDs; nil for all
	Build  bool           // t.run builds layers and runs commands in them
	Update bool           // golden files are written
	Jobs   int            // tests at once; 0 means one for each CPU

	// Timeout is the time limit of one test; 0 means a minute, or an hour with Build.
	Timeout time.Duration

	// MaxSteps is how many steps of the interpreter a test may take; 0 means what a
	// definition may.
	MaxSteps uint64

	Cover  *Coverage     // counts statements; nil for none
	Run    build.Options // how layers are built, without its Events
	Events event.Reader  // takes what happens while layers are built; may be nil
}

// A Status says how a test has ended.
type Status string

// How tests end.
const (
	Passed  Status = "passed"
	Failed  Status = "failed"
	Skipped Status = "skipped"
)

// A Result is how one test has ended.
type Result struct {
	Test
	Status  Status
	Elapsed time.Duration
	Reason  string   // why it was skipped
	Errors  []error  // what failed, with positions
	Log     []string // what the test printed and logged

	// Source returns the text of the files that positions name.
	Source func(file string) ([]byte, error)
}

// A Summary counts results.
type Summary struct {
	Passed, Failed, Skipped int
	Elapsed                 time.Duration
}

// Total returns how many tests there were.
func (s Summary) Total() int { return s.Passed + s.Failed + s.Skipped }

// A Reporter is told of results, by one goroutine at a time.
type Reporter interface {
	Begin(total int) error
	Result(r Result) error // in the order of files and lines
	End(s Summary) error
}

// ErrNone says that there was no test to run.
var ErrNone = errors.New("no tests")

// Run finds the tests and runs them. The error is about tests that could not be run; those
// that fail are in the summary.
func Run(ctx context.Context, c build.Config, o Options, report Reporter) (s Summary, err error) {
	begin := time.Now()
	tests, err := find(c.Dir, o.Paths, o.Match)
	if err != nil {
		return s, err
	}
	if len(tests) == 0 {
		return s, noTests(o)
	}
	c.Params, c.ParamsFile, c.Printed = nil, "", nil
	trials, err := build.OpenTrials(c)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, trials.Close()) }()
	r := &runner{trials: trials, options: o, golden: map[string]string{}}
	if err := report.Begin(len(tests)); err != nil {
		return s, err
	}
	for result := range r.all(ctx, tests) {
		switch result.Status {
		case Passed:
			s.Passed++
		case Skipped:
			s.Skipped++
		default:
			s.Failed++
		}
		if err := report.Result(result); err != nil {
			return s, err
		}
	}
	s.Elapsed = time.Since(begin)
	return s, errors.Join(context.Cause(ctx), report.End(s))
}

func noTests(o Options) error {
	where := strings.Join(o.Paths, ", ")
	if o.Match != nil {
		return fmt.Errorf("%w: no test below %s matches %s", ErrNone, where, o.Match)
	}
	return fmt.Errorf("%w: below %s is no function %s… in a file *%s, and no example in a docstring", ErrNone, where, prefix, Suffix)
}

// A runner runs tests of one command.
type runner struct {
	trials  *build.Trials
	options Options

	building sync.Mutex // a build uses all machines that it may

	mu     sync.Mutex
	golden map[string]string // what was written, by path
}

// all yields the results of tests in their order. Tests run in parallel; when ctx ends or
// the caller breaks off, no other begins.
func (r *runner) all(ctx context.Context, tests []Test) func(yield func(Result) bool) {
	return func(yield func(Result) bool) {
		ctx, cancel := context.WithCancel(ctx)
		jobs := r.options.Jobs
		if jobs <= 0 {
			jobs = runtime.GOMAXPROCS(0)
		}
		results := make([]chan Result, len(tests))
		for i := range results {
			results[i] = make(chan Result, 1)
		}
		var g sync.WaitGroup
		defer g.Wait()
		defer cancel()
		next := make(chan int)
		for range min(jobs, len(tests)) {
			g.Go(func() {
				for i := range next {
					results[i] <- r.run(ctx, tests[i])
				}
			})
		}
		g.Go(func() {
			defer close(next)
			for i := range tests {
				select {
				case next <- i:
				case <-ctx.Done():
					return
				}
			}
		})
		for i := range tests {
			select {
			case result := <-results[i]:
				if !yield(result) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
