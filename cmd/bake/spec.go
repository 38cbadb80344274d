package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bake.build/bake/internal/printable"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/spec"
	"bake.build/bake/runtime/ui"
	"bake.build/bake/starlark/diag"
)

// specFlags are the flags of bake test for tests of definitions.
type specFlags struct {
	run, format, junit, coverage string
	build, update, cover         bool
	verbose                      bool
	timeout                      time.Duration
}

// specOnly are their names, and sharedFlags those that hold for both kinds of tests.
var (
	specOnly    = []string{"run", "format", "junit", "coverage", "coverage-out", "build", "update", "verbose", "timeout"}
	sharedFlags = []string{"jobs", "max-memory", "secret", "locked", "help"}
)

var specFormats = []string{"plain", "tap", "junit", "json"}

func (f *specFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.run, "run", "", "tests of definitions: run those whose FILE:NAME matches the `regexp`")
	flags.BoolVar(&f.build, "build", false, "tests of definitions: build layers, so that t.run can look inside")
	flags.BoolVar(&f.update, "update", false, "tests of definitions: write the golden files")
	flags.StringVar(&f.format, "format", "plain", "tests of definitions: what the standard output gets: plain, tap, junit or json")
	flags.StringVar(&f.junit, "junit", "", "tests of definitions: write a JUnit report to a `file` as well")
	flags.BoolVar(&f.cover, "coverage", false, "tests of definitions: show which lines of the project ran")
	flags.StringVar(&f.coverage, "coverage-out", "", "tests of definitions: write the lines that ran to a `file`, as LCOV has it")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "tests of definitions: show each test, what it printed, and builds")
	flags.DurationVar(&f.timeout, "timeout", 0, "tests of definitions: time limit of one test (default: 1m, with --build 1h)")
}

// isSpec reports whether the arguments of bake test are about tests of definitions:
// directories, files *_test.star, or nothing where there is no definition or a flag says
// so.
func (a *app) isSpec(cmd *cobra.Command, args []string) bool {
	if len(args) > 0 {
		info, err := os.Stat(a.abs(args[0]))
		return spec.IsTestFile(filepath.Base(args[0])) || err == nil && info.IsDir()
	}
	return slices.ContainsFunc(specOnly, cmd.Flags().Changed) || !a.isFile(defaultDefinition)
}

// checkTestFlags refuses flags of the other kind of tests.
func checkTestFlags(cmd *cobra.Command, isSpec bool) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		own := slices.Contains(specOnly, f.Name)
		switch {
		case err != nil || slices.Contains(sharedFlags, f.Name) || own == isSpec:
		case !isSpec:
			err = build.WithHint(fmt.Errorf("--%s: belongs to tests of definitions", f.Name), "they are named by a directory or a file: bake test .")
		case f.Name == "param" || f.Name == "params-file":
			err = build.WithHint(fmt.Errorf("--%s: a test of a definition sees no parameters from outside", f.Name), `it gives them: t.definition("images.star", params = {"name": value})`)
		default:
			err = fmt.Errorf("--%s: belongs to the tests that a definition builds, not to tests of definitions", f.Name)
		}
	})
	return coded(exitUsage, err)
}

// testSpecs runs tests of definitions.
func (a *app) testSpecs(ctx context.Context, paths []string, b *buildFlags, f *specFlags) error {
	if len(paths) == 0 {
		paths = []string{"."}
	}
	for _, path := range paths {
		if !a.isFile(path) {
			return coded(exitUsage, fmt.Errorf("no file or directory %q", path))
		}
	}
	o, err := f.options(paths, b)
	if err != nil {
		return err
	}
	if f.build && f.verbose {
		events, end, err := ui.New("plain", printable.Raw(a.stderr), ui.Options{Getenv: a.getenv, Dir: a.dir})
		if err != nil {
			return err
		}
		o.Events = &quietEnd{events}
		defer func() { _ = end() }() // nothing is left to draw
	}
	var junit bytes.Buffer
	reporter := a.specReporter(f)
	if f.junit != "" {
		reporter = reporters{reporter, spec.NewJUnit(&junit, renderPlain)}
	}
	c := a.config(&b.definitionFlags)
	c.Environ = withoutParams(c.Environ)
	s, err := spec.Run(ctx, c, o, reporter)
	if errors.Is(err, spec.ErrNone) {
		return coded(exitUsage, build.WithHint(err, "a test is a function: def test_name(t): t.equal(1 + 1, 2)"))
	} else if err != nil {
		return err
	}
	if f.junit != "" {
		err = os.WriteFile(a.abs(f.junit), junit.Bytes(), 0o666)
	}
	if err = errors.Join(err, a.showCoverage(paths, o.Cover, f)); err == nil && s.Failed > 0 {
		err = &sessionError{exitFailed}
	}
	return err
}

// withoutParams takes parameters out of an environment: tests give their own.
func withoutParams(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool { return strings.HasPrefix(v, "BAKE_PARAM_") })
}

func (f *specFlags) options(paths []string, b *buildFlags) (o spec.Options, err error) {
	if !slices.Contains(specFormats, f.format) {
		return o, coded(exitUsage, fmt.Errorf("--format %s: want one of %s", f.format, strings.Join(specFormats, ", ")))
	}
	if f.timeout < 0 || b.jobs < 0 {
		return o, coded(exitUsage, errors.New("--timeout and --jobs: want a positive number"))
	}
	memory, err := b.memory()
	if err != nil {
		return o, err
	}
	o = spec.Options{Paths: paths, Build: f.build, Update: f.update, Jobs: b.jobs, Timeout: f.timeout, Run: build.Options{MaxMemory: memory}}
	if f.run != "" {
		if o.Match, err = regexp.Compile(f.run); err != nil {
			return o, coded(exitUsage, fmt.Errorf("--run: %w", err))
		}
	}
	if f.cover || f.coverage != "" {
		o.Cover = spec.NewCoverage()
	}
	return o, nil
}

// renderPlain is a spec.Renderer.
func renderPlain(w io.Writer, err error, source func(string) ([]byte, error)) error {
	return diag.Render(w, present(err, ""), diag.Options{Source: source})
}

func (a *app) specReporter(f *specFlags) spec.Reporter {
	switch f.format {
	case "tap":
		return spec.NewTAP(a.stdout, renderPlain)
	case "junit":
		return spec.NewJUnit(a.stdout, renderPlain)
	case "json":
		return spec.NewJSON(a.stdout)
	}
	if !a.colorOn(a.stdout) {
		return spec.NewPlain(a.stdout, renderPlain, f.verbose, nil)
	}
	colors := map[spec.Status]string{spec.Passed: "32", spec.Failed: "1;31", spec.Skipped: "33"}
	paint := func(s spec.Status, text string) string { return "\x1b[" + colors[s] + "m" + text + "\x1b[0m" }
	render := func(w io.Writer, err error, source func(string) ([]byte, error)) error {
		return diag.Render(w, present(err, ""), diag.Options{Source: source, Color: true})
	}
	// What is shown of others was made printable before it was coloured.
	return spec.NewPlain(printable.Raw(a.stdout), render, f.verbose, paint)
}

// reporters are several readers of one run.
type reporters []spec.Reporter

func (r reporters) each(tell func(spec.Reporter) error) error {
	var errs []error
	for _, one := range r {
		errs = append(errs, tell(one))
	}
	return errors.Join(errs...)
}

// Begin implements spec.Reporter.
func (r reporters) Begin(n int) error {
	return r.each(func(o spec.Reporter) error { return o.Begin(n) })
}

// Result implements spec.Reporter.
func (r reporters) Result(x spec.Result) error {
	return r.each(func(o spec.Reporter) error { return o.Result(x) })
}

// End implements spec.Reporter.
func (r reporters) End(s spec.Summary) error {
	return r.each(func(o spec.Reporter) error { return o.End(s) })
}

// showCoverage shows and writes what was counted.
func (a *app) showCoverage(paths []string, c *spec.Coverage, f *specFlags) error {
	if c == nil {
		return nil
	}
	err := coded(exitDefinition, c.AddFiles(a.dir, paths))
	covered := c.Files()
	if f.cover {
		err = errors.Join(err, a.writeCoverage(covered))
	}
	if f.coverage == "" {
		return err
	}
	var lcov bytes.Buffer
	err = errors.Join(err, spec.WriteLCOV(&lcov, covered))
	return errors.Join(err, os.WriteFile(a.abs(f.coverage), lcov.Bytes(), 0o666))
}

func (a *app) writeCoverage(all []spec.FileCoverage) error {
	t := &table{rows: [][]string{{"COVERED", "LINES", "FILE", "NOT RUN"}}, drop: 1, cut: []int{3, 2}, more: "…"}
	lines, ran := 0, 0
	for _, f := range all {
		lines, ran = lines+len(f.Lines), ran+f.Covered()
		t.rows = append(t.rows, []string{percent(f.Covered(), len(f.Lines)), fmt.Sprint(len(f.Lines)), f.Name, f.Missed()})
	}
	t.rows = append(t.rows, []string{percent(ran, lines), fmt.Sprint(lines), "in all", ""})
	w := a.stdout
	return t.write(w, columnsOf(w))
}

func percent(n, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(n)/float64(of))
}

// quietEnd passes on all events but the end of a build, of which there are many.
type quietEnd struct{ event.Reader }

// Event implements event.Reader.
func (q *quietEnd) Event(e event.Event) {
	if e.Type != event.Finished {
		q.Reader.Event(e)
	}
}
