package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"bake.build/bake/internal/durable"
	"bake.build/bake/internal/printable"
	"bake.build/bake/internal/regular"
	"bake.build/bake/starlark/files"
	"bake.build/bake/starlark/format"
)

// stdinName is what stands for the standard input among paths.
const stdinName = "-"

// fmtFlags are the flags of bake fmt.
type fmtFlags struct{ check, diff bool }

func (a *app) fmtCommand() *cobra.Command {
	f := &fmtFlags{}
	cmd := &cobra.Command{
		Use:   "fmt [PATH…]",
		Short: "format Starlark files",
		Long: `Formats Starlark files as Buildifier does, and lists those that changed. A path is
a file, or a directory whose *.star and bake.mod files are formatted at any depth;
the default is the working directory. Hidden directories, testdata, vendor and
bake.vendor are left out unless they are named. The path "-" is the standard input,
which is formatted to the standard output.

Only the layout changes: a file is parsed before and after, and one that could not be
formatted without another change stays as it is, with an error at its line.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.format(cmd.Context(), args, f)
		},
	}
	cmd.Flags().BoolVar(&f.check, "check", false, "write nothing; list the files that are not formatted, and exit with 1 if there are any")
	cmd.Flags().BoolVar(&f.diff, "diff", false, "write nothing; show the changes, and exit with 1 if there are any")
	return cmd
}

func (a *app) format(ctx context.Context, paths []string, f *fmtFlags) error {
	if len(paths) == 1 && paths[0] == stdinName {
		return a.formatStdin(f)
	}
	all, err := a.starlarkFiles(paths, files.IsStarlark)
	if err != nil {
		return err
	}
	results := make([]formatted, len(all))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, path := range all {
		group.Go(func() error {
			results[i] = a.formatFile(path, f)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var errs []error
	changed, texts := false, map[string][]byte{}
	for _, r := range results {
		changed = changed || r.changed
		errs = append(errs, r.err, r.show(a.stdout, f))
		texts[r.name] = r.old
	}
	if err := errors.Join(errs...); err != nil {
		return &textsError{err, texts}
	}
	return f.verdict(changed)
}

// starlarkFiles returns the files that paths name, by default those of the working
// directory.
func (a *app) starlarkFiles(paths []string, match func(base string) bool) ([]string, error) {
	if len(paths) == 0 {
		paths = []string{"."}
	}
	all, err := files.Find(a.dir, paths, match)
	if err != nil {
		return nil, coded(exitUsage, err)
	}
	return all, nil
}

// verdict is how a run ends that found files which are not formatted, or none.
func (f *fmtFlags) verdict(changed bool) error {
	if changed && (f.check || f.diff) {
		return &sessionError{exitFailed}
	}
	return nil
}

// A formatted is what came of one file.
type formatted struct {
	name      string
	old, text []byte
	changed   bool
	err       error
}

func (a *app) formatFile(path string, f *fmtFlags) formatted {
	r := formatted{name: a.rel(path)}
	if r.old, r.err = regular.Read(path, format.MaxSize); r.err == nil {
		r.text, r.err = format.Source(r.name, r.old)
	}
	if r.err != nil {
		r.err = coded(exitDefinition, r.err)
		return r
	}
	r.changed = !bytes.Equal(r.old, r.text)
	if r.changed && !f.check && !f.diff {
		r.err = durable.Replace(path, r.text)
	}
	return r
}

// show tells of a file that changed, or would.
func (r *formatted) show(w io.Writer, f *fmtFlags) (err error) {
	switch {
	case !r.changed || r.err != nil:
	case f.diff:
		_, err = w.Write(diff.Diff(r.name+" (as it is)", r.old, r.name+" (formatted)", r.text))
	default:
		_, err = fmt.Fprintln(w, printable.Name(r.name))
	}
	return err
}

func (a *app) formatStdin(f *fmtFlags) error {
	old, err := io.ReadAll(io.LimitReader(a.stdin, format.MaxSize+1))
	if err != nil {
		return err
	}
	r := formatted{name: "standard input", old: old}
	if r.text, err = format.Source(r.name, old); err != nil {
		return &textsError{coded(exitDefinition, err), map[string][]byte{r.name: old}}
	}
	if r.changed = !bytes.Equal(r.old, r.text); f.check || f.diff {
		return errors.Join(r.show(a.stdout, f), f.verdict(r.changed))
	}
	_, err = printable.Raw(a.stdout).Write(r.text)
	return err
}
