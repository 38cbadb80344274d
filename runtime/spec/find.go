package spec

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/doc"
	"bake.build/bake/starlark/eval"
	"bake.build/bake/starlark/files"
	"go.starlark.net/syntax"
)

// Suffix ends the names of files with tests.
const Suffix = "_test.star"

// prefix begins the names of test functions.
const prefix = "test_"

// IsTestFile reports whether a file of this base name has tests.
func IsTestFile(base string) bool { return strings.HasSuffix(base, Suffix) }

// A Test is one test function, or one example of a docstring.
type Test struct {
	File string // absolute path
	Show string // the file, as messages name it
	Name string // of the function, or "example:LINE"; "" for a file that could not be read
	Line int

	err     error // why the file could not be read
	text    []byte
	example *build.Example // nil for a function
}

// ID returns what names the test to users.
func (t Test) ID() string {
	if t.Name == "" {
		return t.Show
	}
	return t.Show + ":" + t.Name
}

// find returns the tests below paths, as seen from dir, that match: in the order of
// files, and of lines in a file. A file of tests that cannot be parsed is a test that
// fails. Examples are those of the other files below directories.
func find(dir string, paths []string, match *regexp.Regexp) ([]Test, error) {
	found, err := files.Find(dir, paths, files.IsDefinition)
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		named[filepath.Clean(path)] = true
	}
	var tests []Test
	for _, path := range found {
		of := examplesOf
		if named[path] || IsTestFile(path) {
			of = testsOf
		}
		in, err := of(dir, path)
		if err != nil {
			return nil, err
		}
		tests = append(tests, slices.DeleteFunc(in, func(t Test) bool { return match != nil && !match.MatchString(t.ID()) })...)
	}
	return tests, nil
}

// examplesOf returns the examples of a file's docstrings. A file that cannot be parsed has
// none: what loads it says why.
func examplesOf(dir, path string) (tests []Test, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	show := eval.Show(dir, path)
	f, err := doc.Parse(show, text)
	if err != nil {
		return nil, nil
	}
	name, err := filepath.Rel(eval.Root(filepath.Dir(path)), path)
	if err != nil {
		return nil, err
	}
	for _, x := range f.Examples() {
		tests = append(tests, Test{
			File: path, Show: show, Name: fmt.Sprintf("example:%d", x.Line), Line: x.Line,
			example: &build.Example{Example: x, Path: path, Load: "//" + filepath.ToSlash(name), Names: f.Loadable()},
		})
	}
	return tests, nil
}

func testsOf(dir, path string) ([]Test, error) {
	show := eval.Show(dir, path)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := eval.Dialect().Parse(show, text, 0)
	if err != nil {
		return []Test{{File: path, Show: show, Line: 1, err: err, text: text}}, nil
	}
	var tests []Test
	add := func(id *syntax.Ident) {
		if !strings.HasPrefix(id.Name, prefix) {
			return
		}
		t := Test{File: path, Show: show, Name: id.Name, Line: int(id.NamePos.Line)}
		for _, known := range tests {
			if known.Name == t.Name {
				at := plan.Pos{File: show, Line: t.Line, Col: int(id.NamePos.Col)}
				t.err = &plan.Error{Pos: []plan.Pos{at}, Err: fmt.Errorf("%s is defined at line %d already, which is never run", t.Name, known.Line)}
				t.text = text
			}
		}
		tests = append(tests, t)
	}
	topNames(f.Stmts, add)
	return tests, nil
}

// topNames calls add with each name that statements of the top level bind to a function
// or a value.
func topNames(stmts []syntax.Stmt, add func(*syntax.Ident)) {
	for _, s := range stmts {
		switch s := s.(type) {
		case *syntax.DefStmt:
			add(s.Name)
		case *syntax.AssignStmt:
			if id, ok := s.LHS.(*syntax.Ident); ok {
				add(id)
			}
		case *syntax.IfStmt:
			topNames(s.True, add)
			topNames(s.False, add)
		case *syntax.ForStmt:
			topNames(s.Body, add)
		}
	}
}
