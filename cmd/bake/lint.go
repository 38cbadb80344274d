package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"bake.build/bake/internal/durable"
	"bake.build/bake/internal/spell"
	"bake.build/bake/platforms"
	"bake.build/bake/starlark/eval"
	"bake.build/bake/starlark/files"
	"bake.build/bake/starlark/lint"
)

// lintFlags are the flags of bake lint.
type lintFlags struct {
	format        string
	only, disable []string
	fix, rules    bool
}

func (a *app) lintCommand() *cobra.Command {
	f := &lintFlags{}
	cmd := &cobra.Command{
		Use:   "lint [PATH…]",
		Short: "find likely mistakes in definitions and their scripts",
		Long: `Finds likely mistakes in definitions, and in the shell scripts that they contain or
name. A path is a definition, a shell script, or a directory whose *.star files are
read at any depth; the default is the working directory. Hidden directories,
testdata, vendor and bake.vendor are left out unless they are named. Nothing is
evaluated or run.

Files that they load are read as well, also those of modules of other teams that are
vendored, replaced by a folder or in the store: nothing is downloaded. Findings in
modules are for their teams, and are not shown.

A comment switches a rule off, for the statement whose line it ends or, on a line of its
own, for the next statement, in definitions and in scripts:

    # lint: disable=package-prompt the wrapper in this image answers

The exit code is 1 when something is found.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.lint(cmd.Context(), args, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.format, "format", "plain", "`form` of the output: "+strings.Join(findingFormats, ", "))
	flags.StringSliceVar(&f.only, "only", nil, "look for these `rules` only")
	flags.StringSliceVar(&f.disable, "disable", nil, "do not look for these `rules`")
	flags.BoolVar(&f.fix, "fix", false, "change what can be changed safely, and show what is left")
	flags.BoolVar(&f.rules, "rules", false, "list the rules")
	return cmd
}

// chosen returns the rules that the flags name.
func (f *lintFlags) chosen() ([]lint.Rule, error) {
	rules := lint.Rules()
	known := lint.Names(rules)
	for _, name := range slices.Concat(f.only, f.disable) {
		if !slices.Contains(known, name) {
			return nil, coded(exitUsage, fmt.Errorf("no rule %q%s", name, spell.Hint(name, "rules", known)))
		}
	}
	return slices.DeleteFunc(rules, func(r lint.Rule) bool {
		return len(f.only) > 0 && !slices.Contains(f.only, r.Name) || slices.Contains(f.disable, r.Name)
	}), nil
}

func (a *app) lint(ctx context.Context, paths []string, f *lintFlags) error {
	if err := checkFindingFormat(f.format); err != nil {
		return err
	}
	rules, err := f.chosen()
	if err != nil {
		return err
	}
	if f.rules {
		return a.listRules(rules)
	}
	all, err := a.starlarkFiles(paths, files.IsDefinition)
	if err != nil {
		return err
	}
	r := a.newLintRun(ctx, rules)
	if err := r.read(ctx, all); err != nil {
		return err
	}
	if f.fix {
		n, err := r.fix(all)
		if err != nil {
			return err
		}
		if n > 0 {
			fmt.Fprintf(a.stderr, "%d fixed\n", n)
		}
	}
	found, err := r.findings(ctx, all)
	if err != nil {
		return err
	}
	if err := a.writeFindings(f.format, rules, found, r.source); err != nil {
		return err
	}
	if len(found) == 0 {
		return nil
	}
	a.countFindings(found)
	return &sessionError{exitFailed}
}

func (a *app) countFindings(found []lint.Finding) {
	fixable := 0
	for _, f := range found {
		if len(f.Fix) > 0 {
			fixable++
		}
	}
	fmt.Fprintf(a.stderr, "\n%d found", len(found))
	if fixable > 0 {
		fmt.Fprintf(a.stderr, ", of which --fix changes %d", fixable)
	}
	fmt.Fprintln(a.stderr)
}

func (a *app) listRules(rules []lint.Rule) error {
	for _, r := range rules {
		if _, err := fmt.Fprintf(a.stdout, "%s (%s)\n    %s\n", r.Name, r.Severity, r.Doc); err != nil {
			return err
		}
	}
	return nil
}

// A lintRun lints files.
type lintRun struct {
	*app
	ctx    context.Context
	linter *lint.Linter

	mu       sync.Mutex
	texts    map[string][]byte        // by path
	names    map[string]string        // the paths of names in positions
	projects map[string]*eval.Project // by root
	unseen   map[*eval.Tree]bool      // trees that load modules which cannot be had here
	places   map[string]eval.Place    // of files of modules
}

func (a *app) newLintRun(ctx context.Context, rules []lint.Rule) *lintRun {
	r := &lintRun{
		app: a, ctx: ctx, texts: map[string][]byte{}, names: map[string]string{},
		projects: map[string]*eval.Project{}, unseen: map[*eval.Tree]bool{}, places: map[string]eval.Place{},
	}
	r.linter = &lint.Linter{Rules: rules, Language: a.language(), Read: r.readNamed, Show: a.rel, IsDir: r.isDir}
	return r
}

// language tells the linter what definitions can call.
func (a *app) language() lint.Language {
	functions := map[string]lint.Function{"struct": {}, "json": {}, "math": {}}
	for _, b := range a.builtins {
		functions[b.Name] = lint.Function{Layer: b.Returns == "layer", Args: deprecatedOf(b.Args)}
	}
	for _, s := range a.specs {
		functions[s.Name] = lint.Function{Args: deprecatedOf(s.Options)}
		for name, options := range map[string][]platforms.Option{"source": s.Origin, "export": s.Publication} {
			for option, instead := range deprecatedOf(options) {
				functions[name].Args[option] = instead
			}
		}
	}
	return lint.Language{Functions: functions}
}

func deprecatedOf(options []platforms.Option) map[string]string {
	args := map[string]string{}
	for _, o := range options {
		if o.Deprecated != "" {
			args[o.Name] = o.Deprecated
		}
	}
	return args
}

// each runs work for each of the files, some at a time.
func (r *lintRun) each(ctx context.Context, all []string, work func(i int, path string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, path := range all {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return work(i, path)
		})
	}
	return group.Wait()
}

// read reads the files, so that what one loads of another is known.
func (r *lintRun) read(ctx context.Context, all []string) error {
	return r.each(ctx, all, func(_ int, path string) error {
		text, err := r.text(path)
		if err != nil {
			return coded(exitUsage, err)
		}
		r.linter.Loads(text)
		return nil
	})
}

// findings lints all files.
func (r *lintRun) findings(ctx context.Context, all []string) ([]lint.Finding, error) {
	found := make([][]lint.Finding, len(all))
	err := r.each(ctx, all, func(i int, path string) error {
		var err error
		found[i], err = r.one(path)
		return err
	})
	return lint.Sorted(slices.Concat(found...)), err
}

func (r *lintRun) one(path string) ([]lint.Finding, error) {
	text, err := r.text(path)
	if err != nil {
		return nil, coded(exitUsage, err)
	}
	if isScript(path, text) {
		return r.linter.Script(r.rel(path), path, text), nil
	}
	return r.linter.Definition(r.rel(path), path, text), nil
}

// isScript reports whether a file that was named is a shell script.
func isScript(path string, text []byte) bool {
	return !files.IsStarlark(filepath.Base(path)) && (strings.HasSuffix(path, ".sh") || strings.HasSuffix(path, ".bash") || bytes.HasPrefix(text, []byte("#!")))
}

// maxFixes is how often a file is fixed and looked at again: edits that overlap wait
// for the next time.
const maxFixes = 8

// fix changes what can be changed safely, one file after the other, since several may
// name one script. It returns how many findings are gone.
func (r *lintRun) fix(all []string) (fixed int, err error) {
	for _, path := range all {
		for range maxFixes {
			found, err := r.one(path)
			if err != nil {
				return fixed, err
			}
			n, err := r.apply(found)
			if fixed += n; err != nil {
				return fixed, err
			}
			if n == 0 {
				break
			}
		}
	}
	return fixed, nil
}

// apply makes the edits of the findings of one definition, in it and in its scripts.
func (r *lintRun) apply(found []lint.Finding) (fixed int, err error) {
	var paths []string
	for _, f := range found {
		for _, e := range f.Fix {
			paths = append(paths, e.Path)
		}
	}
	slices.Sort(paths)
	for _, path := range slices.Compact(paths) {
		old, err := r.text(path)
		if err != nil {
			return fixed, err
		}
		text, n := lint.Apply(path, old, found)
		if files.IsDefinition(path) {
			if _, err := eval.Dialect().Parse(r.rel(path), text, 0); err != nil {
				return fixed, fmt.Errorf("fix %s: it would not parse any more: %w", r.rel(path), err)
			}
		}
		if err := durable.Replace(path, text); err != nil {
			return fixed, err
		}
		r.mu.Lock()
		r.texts[path] = text
		r.mu.Unlock()
		fixed += n
	}
	return fixed, nil
}
