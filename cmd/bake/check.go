package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"bake.build/bake/internal/printable"
	"bake.build/bake/internal/spell"
	"bake.build/bake/runtime/build"
	"bake.build/bake/starlark/diag"
	"bake.build/bake/starlark/files"
	"bake.build/bake/starlark/lint"
)

// checkFlags are the flags of bake check.
type checkFlags struct {
	params     []string
	paramsFile string
	format     string
}

func (a *app) checkCommand() *cobra.Command {
	f := &checkFlags{}
	cmd := &cobra.Command{
		Use:   "check [PATH…]",
		Short: "evaluate definitions, and show all errors",
		Long: `Evaluates definitions without running anything, and shows all errors and the steps
that are never built. A path is a definition, or a directory whose *.star files are
evaluated at any depth, each by itself; the default is the working directory. Hidden
directories, testdata, vendor and bake.vendor are left out unless they are named.

A definition is evaluated with every combination of the choices of its parameters,
true and false for a bool; where there are more than 64, with each value once. A
parameter that is given with -p has only that value, in all definitions that have it.

No origin is resolved and nothing is downloaded: modules of other teams are taken
from the store or from the vendor directory. The exit code is 3 when there are errors.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.check(cmd.Context(), args, f)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.params, "param", "p", nil, "set a parameter, as `name=value`")
	flags.StringVar(&f.paramsFile, "params-file", "", "read parameters from a `file`, as for build")
	flags.StringVar(&f.format, "format", "plain", "`form` of the output: "+strings.Join(findingFormats, ", "))
	return cmd
}

// maxChecks is how many definitions are evaluated at once: each has its own bound of
// memory.
const maxChecks = 4

func (a *app) check(ctx context.Context, paths []string, f *checkFlags) error {
	if err := checkFindingFormat(f.format); err != nil {
		return err
	}
	all, err := a.starlarkFiles(paths, files.IsDefinition)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return coded(exitUsage, errors.New("no definitions: there is no *.star file to evaluate"))
	}
	c := a.config(nil)
	c.Params, c.ParamsFile, c.Offline = f.params, f.paramsFile, true
	results := make([]*build.Checked, len(all))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(maxChecks, runtime.GOMAXPROCS(0)))
	for i, path := range all {
		group.Go(func() (err error) {
			results[i], err = build.Check(ctx, c, path)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	r := &checkReport{app: a, told: map[string]bool{}}
	for i, one := range results {
		r.add(a.rel(all[i]), one)
	}
	r.addUnknown(f.params)
	return r.write(f.format, len(all))
}

// A checkReport collects what is to be told of definitions, each once: what several of
// them load is evaluated several times.
type checkReport struct {
	*app
	told     map[string]bool
	findings []lint.Finding
	plain    bytes.Buffer
	errs     int
	runs     int
	notes    []string
	sources  []*build.Checked
}

// checkRules are what findings of bake check are called in forms for programs.
var checkRules = []lint.Rule{
	{Name: "evaluate", Severity: lint.Error, Doc: "A definition cannot be evaluated."},
	{Name: "unused-layer", Severity: lint.Warning, Doc: "Nothing uses the layer of a step."},
}

func (r *checkReport) add(name string, c *build.Checked) {
	r.runs += c.Runs
	r.sources = append(r.sources, c)
	for _, p := range c.Problems {
		err := present(p.Err, name)
		for _, d := range diag.Of(err) {
			r.finding(checkRules[0], name, d, p.With)
		}
	}
	for _, e := range c.Unused {
		r.finding(checkRules[1], name, diag.Of(e)[0], "")
	}
	if len(c.Missing) > 0 {
		r.notes = append(r.notes, fmt.Sprintf("%s: not checked behind param(): give %s with -p", name, strings.Join(c.Missing, ", ")))
	}
	if c.Partial {
		r.notes = append(r.notes, name+": not every combination of values was tried")
	}
}

// addUnknown notes parameters that were given and that no definition has.
func (r *checkReport) addUnknown(given []string) {
	known := map[string]bool{}
	for _, c := range r.sources {
		for _, name := range c.Params {
			known[name] = true
		}
	}
	names := slices.Sorted(maps.Keys(known))
	for _, p := range given {
		name, _, _ := strings.Cut(p, "=")
		name, _, _ = strings.Cut(name, ".") // one field of it
		if !known[name] {
			r.notes = append(r.notes, fmt.Sprintf("no definition has a parameter %q%s", name, spell.Hint(name, "parameters", names)))
		}
	}
}

// finding adds what a diagnostic says of the definition called name.
func (r *checkReport) finding(rule lint.Rule, name string, d diag.Diagnostic, with string) {
	at := fmt.Sprint(d.Stack, d.Message)
	if len(d.Stack) > 0 && d.Stack[0].Func == "" { // of a file, whoever loads it
		at = fmt.Sprint(d.Stack[0], d.Message)
	}
	if r.told[at] {
		return
	}
	r.told[at] = true
	if rule.Severity == lint.Error {
		r.errs++
	}
	if with != "" {
		d.Message = "with " + with + ": " + d.Message
	}
	f := lint.Finding{Rule: rule.Name, Severity: rule.Severity, File: name, Line: 1, Col: 1, Message: d.Message, Hint: d.Hint}
	for _, p := range d.Stack {
		if !strings.HasPrefix(p.File, "@") && p.Line > 0 {
			f.File, f.Line, f.Col = p.File, p.Line, max(1, p.Col)
			break
		}
	}
	f.EndLine, f.EndCol = f.Line, f.Col
	r.findings = append(r.findings, f)
	if r.plain.Len() > 0 {
		r.plain.WriteByte('\n')
	}
	if rule.Severity != lint.Error {
		d.Message = string(rule.Severity) + ": " + d.Message
	}
	diag.Show(&r.plain, d, diag.Options{Color: r.colorOn(r.stdout), Source: r.source})
}

// source implements diag.Options.Source.
func (r *checkReport) source(name string) ([]byte, error) {
	for _, c := range r.sources {
		if c.Project == nil {
			continue
		}
		if text, err := c.Project.Source(name); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("source of %s: %w", name, fs.ErrNotExist)
}

// write writes what was found in n definitions, and returns how the command ends.
func (r *checkReport) write(format string, n int) error {
	var err error
	if format == "plain" {
		_, err = printable.Raw(r.stdout).Write(r.plain.Bytes())
	} else {
		err = r.writeFindings(format, checkRules, lint.Sorted(r.findings), r.source)
	}
	for _, note := range r.notes {
		fmt.Fprintln(r.stderr, "note:", note)
	}
	fmt.Fprintf(r.stderr, "%s, evaluated %s: %s\n", counted(n, "definition"), counted(r.runs, "time"), counted(r.errs, "error"))
	if err == nil && r.errs > 0 {
		err = &sessionError{exitDefinition}
	}
	return err
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
