package module

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"bake.build/bake/internal/modroot"
	"bake.build/bake/internal/spell"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/syntax"
)

// FileName is the name of the file that makes a directory the root of a module.
const FileName = modroot.File

// MaxFile is how many bytes a bake.mod has at most.
const MaxFile = 4 << 20

// A File is what a bake.mod says.
type File struct {
	Name     string // as positions show it
	Path     string // of the module
	Requires []Require
	Replaces []Replace
	Excludes []Exclude

	pos  syntax.Position // of module()
	text []byte
}

// A Require asks for a module.
type Require struct {
	Name    string // by which the module's files load it, as @name//
	Path    string
	Version string // the least; "" for a local folder
	Source  Source
	Pos     syntax.Position

	version *syntax.Literal // nil where there is none
	call    *syntax.CallExpr
}

// A Replace takes a module from elsewhere, whoever asks for it. It counts only in the
// module that is built.
type Replace struct {
	Path    string
	Only    string // the version that it is for; "" means all
	Version string // what is taken in its place; "" means the same version
	Source  Source
	Pos     syntax.Position
}

// An Exclude forbids a version: where it is asked for, the next higher one is taken.
// It counts only in the module that is built.
type Exclude struct {
	Path    string
	Version string
	Pos     syntax.Position
}

// Place returns where bake.mod has the requirement.
func (r Require) Place() plan.Pos { return posOf(r.Pos) }

// dialect allows calls and nothing else that matters.
var dialect = syntax.FileOptions{}

// Parse reads a bake.mod, which positions show as name. What is wrong with it is a
// syntax.Error at its line.
func Parse(name string, text []byte) (*File, error) {
	if len(text) > MaxFile {
		return nil, fmt.Errorf("%s: it has more than %d MiB", name, MaxFile>>20)
	}
	if !bytes.Equal(text, bytes.ToValidUTF8(text, nil)) {
		return nil, fmt.Errorf("%s: it is not UTF-8 text", name)
	}
	tree, err := dialect.Parse(name, bytes.TrimPrefix(text, []byte("\ufeff")), 0)
	if err != nil {
		return nil, err
	}
	f := &File{Name: name, text: text}
	for _, stmt := range tree.Stmts {
		if err := f.statement(stmt); err != nil {
			return nil, err
		}
	}
	if f.Path == "" {
		return nil, syntax.Error{Pos: syntax.MakePosition(&f.Name, 1, 1), Msg: `module() is missing: it says what the module is called, as in module("acme.example/images")`}
	}
	return f, f.check()
}

// statements are the functions of a bake.mod.
var statements = []string{"module", "require", "replace", "exclude"}

func (f *File) statement(stmt syntax.Stmt) error {
	expr, ok := stmt.(*syntax.ExprStmt)
	if ok {
		if lit, doc := expr.X.(*syntax.Literal); doc && lit.Token == syntax.STRING {
			return nil // a text that explains
		}
	}
	var call *syntax.CallExpr
	if ok {
		call, ok = expr.X.(*syntax.CallExpr)
	}
	if !ok {
		start, _ := stmt.Span()
		return syntax.Error{Pos: start, Msg: "bake.mod holds calls of module, require, replace and exclude, and nothing else"}
	}
	start, _ := call.Span()
	fn, ok := call.Fn.(*syntax.Ident)
	if !ok || !slices.Contains(statements, fn.Name) {
		word := ""
		if ok {
			word = fmt.Sprintf(" %q%s", fn.Name, spell.Hint(fn.Name, "functions", statements))
		}
		return syntax.Error{Pos: start, Msg: "bake.mod knows no function" + word}
	}
	a, err := readArgs(call, fn.Name)
	if err != nil {
		return err
	}
	if err := f.add(fn.Name, a); err != nil {
		return syntax.Error{Pos: a.at(err), Msg: fn.Name + ": " + err.Error()}
	}
	return nil
}

// add adds what one call says.
func (f *File) add(fn string, a *args) error {
	path := a.get("path")
	if err := CheckPath(path); err != nil {
		return a.fault("path", err)
	}
	version := a.get("version")
	if err := CheckVersion(path, version); version != "" && err != nil {
		return a.fault("version", err)
	}
	var src Source
	if text, given := a.values["source"]; given {
		var err error
		if src, err = ParseSource(text.Value.(string)); err != nil {
			return a.fault("source", err)
		}
	}
	switch fn {
	case "module":
		if f.Path != "" {
			return fmt.Errorf("it is there twice; the first is at line %d", f.pos.Line)
		}
		f.Path, f.pos = path, a.pos
	case "require":
		return f.addRequire(a, path, version, src)
	case "replace":
		only := a.get("only")
		if only != "" {
			if err := CheckVersion(path, only); err != nil {
				return a.fault("only", err)
			}
		}
		f.Replaces = append(f.Replaces, Replace{path, only, version, src, a.pos})
	case "exclude":
		if !IsRelease(version) {
			return a.fault("version", fmt.Errorf("version %q: want a semantic version such as \"v1.4.0\"", version))
		}
		f.Excludes = append(f.Excludes, Exclude{path, version, a.pos})
	}
	return nil
}

func (f *File) addRequire(a *args, path, version string, src Source) error {
	r := Require{Name: a.get("name"), Path: path, Version: version, Source: src, Pos: a.pos, version: a.values["version"], call: a.call}
	if r.Name == "" {
		r.Name = NameOf(path)
	}
	if err := CheckName(r.Name); err != nil {
		return a.fault("name", err)
	}
	if version == "" && !src.Local() {
		return a.fault("source", fmt.Errorf("version is missing: only a local folder has none"))
	}
	if version != "" && src.Local() {
		return a.fault("version", fmt.Errorf("a local folder is taken as it is, without a version"))
	}
	f.Requires = append(f.Requires, r)
	return nil
}

// check finds what contradicts itself.
func (f *File) check() error {
	names, paths := map[string]Require{}, map[string]Require{}
	for _, r := range f.Requires {
		if was, twice := names[r.Name]; twice {
			return syntax.Error{Pos: r.Pos, Msg: fmt.Sprintf("require: @%s is also the name of %s, at line %d; give one of them another with name =", r.Name, was.Path, was.Pos.Line)}
		}
		if was, twice := paths[r.Path]; twice {
			return syntax.Error{Pos: r.Pos, Msg: fmt.Sprintf("require: %s is there twice; the first is at line %d", r.Path, was.Pos.Line)}
		}
		if r.Path == f.Path {
			return syntax.Error{Pos: r.Pos, Msg: fmt.Sprintf("require: %s is this module itself, whose files are loaded as \"//file.star\"", r.Path)}
		}
		names[r.Name], paths[r.Path] = r, r
	}
	seen := map[[2]string]Replace{}
	for _, r := range f.Replaces {
		if was, twice := seen[[2]string{r.Path, r.Only}]; twice {
			return syntax.Error{Pos: r.Pos, Msg: fmt.Sprintf("replace: %s is replaced twice; the first is at line %d", strings.TrimSpace(r.Path+" "+r.Only), was.Pos.Line)}
		}
		seen[[2]string{r.Path, r.Only}] = r
	}
	return nil
}

// Require returns the requirement of the module called name, or of that path, or nil.
func (f *File) Require(name string) *Require {
	for _, by := range []func(Require) string{func(r Require) string { return r.Name }, func(r Require) string { return r.Path }} {
		if i := slices.IndexFunc(f.Requires, func(r Require) bool { return by(r) == name }); i >= 0 {
			return &f.Requires[i]
		}
	}
	return nil
}

// Names returns the names of all that the module requires.
func (f *File) Names() []string {
	names := make([]string, len(f.Requires))
	for i, r := range f.Requires {
		names[i] = r.Name
	}
	return names
}

// Text returns the file's text.
func (f *File) Text() []byte { return f.text }

// Pos returns the position of module().
func (f *File) Pos() plan.Pos { return posOf(f.pos) }

func posOf(p syntax.Position) plan.Pos {
	return plan.Pos{File: p.Filename(), Line: int(p.Line), Col: int(p.Col)}
}
