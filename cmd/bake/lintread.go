package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"bake.build/bake/internal/regular"
	"bake.build/bake/runtime/build"
	"bake.build/bake/starlark/eval"
	"bake.build/bake/starlark/format"
	"bake.build/bake/starlark/lint"
	"bake.build/bake/stdlib"
)

// text returns the text of the file at path, without a byte order mark.
func (r *lintRun) text(path string) ([]byte, error) {
	r.mu.Lock()
	text, ok := r.texts[path]
	r.mu.Unlock()
	if ok {
		return text, nil
	}
	text, err := regular.Read(path, format.MaxSize)
	if err != nil {
		return nil, err
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.texts[path], r.names[r.rel(path)] = text, path
	return text, nil
}

// source implements diag.Options.Source.
func (r *lintRun) source(name string) ([]byte, error) {
	r.mu.Lock()
	path, ok := r.names[name]
	r.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("source of %s: %w", name, fs.ErrNotExist)
	}
	return r.text(path)
}

// place returns the directory that names in the file at path are relative to.
func (r *lintRun) place(path string) (eval.Place, error) {
	dir := filepath.Dir(path)
	r.mu.Lock()
	defer r.mu.Unlock()
	if place, ok := r.places[path]; ok {
		return place, nil
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return eval.Place{}, err
	}
	root := eval.Root(dir)
	p, ok := r.projects[root]
	if !ok {
		p = r.open(root)
		r.projects[root] = p
	}
	return p.Top().In(dir), nil
}

// open opens the project of a root directory, with the modules that can be had without
// a network. Where they cannot, it says so.
func (r *lintRun) open(root string) *eval.Project {
	c := r.config(nil)
	c.Offline, c.Notify = true, nil
	p, err := build.ProjectAt(r.ctx, c, root)
	if err != nil {
		r.unseen[p.Tree] = true
		fmt.Fprintf(r.stderr, "note: modules of other teams are not looked into: %v\n", err)
	}
	return p
}

// readNamed implements lint.Linter.Read.
func (r *lintRun) readNamed(from, name string) ([]byte, string, error) {
	if file, ok := strings.CutPrefix(name, "@bake//"); ok {
		text, err := fs.ReadFile(stdlib.FS, file)
		if err != nil {
			err = fmt.Errorf("the library has no file %q", file)
		}
		return text, name, err
	}
	place, err := r.place(from)
	if err != nil {
		return nil, "", err
	}
	if strings.HasPrefix(name, "@") && r.isUnseen(place.Tree) {
		return nil, "", lint.ErrUnseen
	}
	at, path, err := place.Load(name)
	if err != nil {
		return nil, "", err
	}
	text, err := r.text(path)
	if at.Tree != place.Tree { // a file of a module may be one of the user's as well
		path = fmt.Sprintf("%s of %p", path, at.Tree)
		r.mu.Lock()
		r.places[path] = at
		r.mu.Unlock()
	}
	return text, path, err
}

func (r *lintRun) isUnseen(t *eval.Tree) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unseen[t]
}

// isDir implements lint.Linter.IsDir.
func (r *lintRun) isDir(from, name string) bool {
	place, err := r.place(from)
	if err != nil {
		return false
	}
	path, err := place.Path(name)
	if err != nil {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
