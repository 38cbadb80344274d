package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"bake.build/bake/builtins/reference"
	"bake.build/bake/runtime/build"
	"bake.build/bake/starlark/doc"
	"bake.build/bake/starlark/eval"
	"bake.build/bake/stdlib"
)

// A docTree is what bake doc is asked to show: a part of a tree of Starlark files.
type docTree struct {
	reference.Tree
	dir   string // the project's root; "" for a library
	under string // the file or folder that is meant
	files []*doc.File
}

// isDocFile reports whether a target of bake doc is a file or a folder, by its form.
func isDocFile(target string) bool {
	return strings.HasSuffix(target, ".star") || strings.HasPrefix(target, "@") || strings.ContainsAny(target, `/\`) || target == "."
}

// docTree reads the Starlark files of a target: "@bake//x.star", "@bake", "//lib", or a
// path.
func (a *app) docTree(ctx context.Context, target string) (*docTree, error) {
	t := &docTree{under: "."}
	if strings.HasPrefix(target, "@") {
		name, file, _ := strings.Cut(target, "//")
		var err error
		if t.Tree, err = a.library(ctx, name); err != nil {
			return nil, err
		}
		if file != "" {
			t.under = file
		}
	} else if err := a.localTree(t, target); err != nil {
		return nil, err
	}
	var err error
	if t.files, err = t.Files(t.under); errors.Is(err, fs.ErrNotExist) {
		return nil, coded(exitUsage, fmt.Errorf("bake doc: no file %s", target))
	} else if err != nil {
		return nil, coded(exitDefinition, err)
	}
	if len(t.files) == 0 {
		return nil, coded(exitUsage, fmt.Errorf("bake doc: no Starlark files in %s", target))
	}
	return t, nil
}

// library returns the tree that load calls name, such as "@bake".
func (a *app) library(ctx context.Context, name string) (reference.Tree, error) {
	if name == "@bake" {
		return reference.Tree{FS: stdlib.FS, Prefix: "@bake//"}, nil
	}
	dir, err := build.ModuleDir(ctx, a.config(nil), strings.TrimPrefix(name, "@"))
	if err != nil {
		return reference.Tree{}, err
	}
	return reference.Tree{FS: os.DirFS(dir), Prefix: name + "//"}, nil
}

func (a *app) localTree(t *docTree, target string) error {
	file := a.abs(target)
	if rest, ok := strings.CutPrefix(target, "//"); ok {
		file = filepath.Join(eval.Root(a.dir), filepath.FromSlash(rest))
	}
	file, err := filepath.EvalSymlinks(file)
	if err != nil {
		return coded(exitUsage, fmt.Errorf("bake doc: %w", err))
	}
	dir := file
	if info, err := os.Stat(file); err == nil && !info.IsDir() {
		dir = filepath.Dir(file)
	}
	t.dir = eval.Root(dir)
	under, err := filepath.Rel(t.dir, file)
	if err != nil {
		return fmt.Errorf("bake doc: %w", err)
	}
	t.Tree, t.under = reference.Tree{FS: os.DirFS(t.dir), Prefix: "//"}, filepath.ToSlash(under)
	return nil
}

// docFiles shows the documentation of a file, of a folder of them, or of one name of it.
func (a *app) docFiles(ctx context.Context, b *reference.Book, args []string, f *docFlags) error {
	t, err := a.docTree(ctx, args[0])
	if err != nil {
		return err
	}
	own := &reference.Book{}
	for _, file := range t.files {
		own.Sections = append(own.Sections, reference.File(file))
	}
	switch {
	case len(args) == 2:
		if len(own.Find(args[1])) == 0 {
			return coded(exitUsage, build.WithHint(fmt.Errorf("bake doc: %s has no %q", args[0], args[1]), "bake doc "+args[0]+" shows what it has"))
		}
		return a.docName(own, args[1], f)
	case len(args) > 2:
		return coded(exitUsage, errors.New("bake doc: want at most one name after a file"))
	case len(own.Sections) == 1:
		return a.showDoc(f, own.Sections[0].Markdown(1), own.Sections[0])
	}
	var text strings.Builder
	for _, s := range own.Sections {
		text.WriteString(s.Markdown(1) + "\n")
	}
	return a.showDoc(f, text.String(), own)
}

// checkDocs tells what is wrong with the docstrings of files, and evaluates the
// examples in them.
func (a *app) checkDocs(ctx context.Context, args []string) error {
	if len(args) == 0 {
		args = []string{"."}
	}
	wrong, examples := 0, 0
	for _, target := range args {
		t, err := a.docTree(ctx, target)
		if err != nil {
			return err
		}
		for _, file := range t.files {
			for _, finding := range file.Check() {
				finding.File = t.show(a, finding.File)
				fmt.Fprintln(a.stdout, finding)
				wrong++
			}
			failed, err := a.checkExamples(ctx, t, file)
			if err != nil {
				return err
			}
			wrong += failed
			examples += len(file.Examples())
		}
	}
	if wrong > 0 {
		return coded(exitFailed, fmt.Errorf("%d findings in documentation", wrong))
	}
	fmt.Fprintf(a.stderr, "documentation is right; %s evaluated\n", counted(examples, "example"))
	return nil
}

// show returns what users call a file of the tree.
func (t *docTree) show(a *app, name string) string {
	if rest, ok := strings.CutPrefix(name, "//"); ok && t.dir != "" {
		return filepath.ToSlash(a.rel(filepath.Join(t.dir, filepath.FromSlash(rest))))
	}
	return name
}

// exampleFiles are the files of a project that examples of the library copy.
var exampleFiles = []string{"ansible/site.yml", "VBoxGuestAdditions.iso"}

func writeExampleFiles(dir string) error {
	for _, name := range exampleFiles {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// checkExamples evaluates the examples of a file, tells those that fail, and returns
// how many those are.
func (a *app) checkExamples(ctx context.Context, t *docTree, f *doc.File) (failed int, err error) {
	c, dir := a.config(nil), t.dir
	name := strings.TrimPrefix(f.Name, t.Prefix)
	load := "//" + name
	switch {
	case t.Prefix == "@bake//": // its examples are definitions of an empty project
		if dir, err = os.MkdirTemp("", "bake-doc-"); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		c.Dir = dir
		if err := writeExampleFiles(dir); err != nil {
			return 0, err
		}
		load, name = f.Name, path.Base(name)
	case t.dir == "": // those of a module are definitions of the project that requires it
		dir = eval.Root(a.dir)
		load, name = f.Name, path.Base(name)
	}
	told := map[string]bool{} // what is wrong with the file is wrong for each of them
	for _, x := range f.Examples() {
		err := build.EvaluateExample(ctx, c, build.Example{
			Example: x, Path: filepath.Join(dir, filepath.FromSlash(name)), Load: load, Names: f.Loadable(),
		})
		if err != nil {
			failed++
			if told[err.Error()] {
				continue
			}
			told[err.Error()] = true
			a.report(fmt.Errorf("%s:%d: example: %w", t.show(a, f.Name), x.Line, err))
		}
		if ctx.Err() != nil {
			return failed, ctx.Err()
		}
	}
	if more := failed - len(told); more > 0 {
		fmt.Fprintf(a.stderr, "note: %s: %s for the same reason\n", t.show(a, f.Name), counted(more, "further failure"))
	}
	return failed, nil
}
