package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/term"

	"bake.build/bake/internal/printable"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
	"bake.build/bake/starlark/diag"
)

// report shows err to the user.
func (a *app) report(err error) {
	options := diag.Options{Color: a.colorOn(a.stderr)}
	var src *build.SourceError
	definition := ""
	if errors.As(err, &src) && src.Project != nil {
		options.Source = src.Project.Source
		definition = a.rel(src.Project.Definition)
	}
	var texts *textsError
	if errors.As(err, &texts) {
		options.Source = texts.source
	}
	if rerr := diag.Render(printable.Raw(a.stderr), present(err, definition), options); rerr != nil {
		fmt.Fprintln(os.Stderr, "bake:", err)
	}
	var lack *build.LackError
	if errors.As(err, &lack) {
		writeProblems(a.stderr, lack.Problems)
	}
}

// A textsError is about files whose texts are at hand, by the names in its positions.
type textsError struct {
	err   error
	texts map[string][]byte
}

func (e *textsError) Error() string { return e.err.Error() }
func (e *textsError) Unwrap() error { return e.err }

func (e *textsError) source(name string) ([]byte, error) {
	if text, ok := e.texts[name]; ok {
		return text, nil
	}
	return nil, fmt.Errorf("source of %s: %w", name, fs.ErrNotExist)
}

// colorOn reports whether what is written to w may be coloured.
func (a *app) colorOn(w io.Writer) bool {
	f, ok := printable.Raw(w).(*os.File)
	return ok && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// present turns err into errors that package diag knows how to show: it takes
// the wrappers off that only carry an exit code, and gives a failed node its
// position, its log and a hint. definition is the file that err comes from.
func present(err error, definition string) error {
	switch e := err.(type) {
	case nil:
		return nil
	case *codedError:
		return present(e.err, definition)
	case *textsError:
		return present(e.err, definition)
	case *build.Error:
		return present(e.Err, definition)
	case *build.SourceError:
		return present(e.Err, definition)
	case *solve.NodeError:
		return &nodeDiag{e, definition}
	case interface{ Unwrap() []error }:
		var list []error
		for _, one := range e.Unwrap() {
			if one = present(one, definition); one != nil && !idle(one, list) {
				list = append(list, one)
			}
		}
		if len(list) == 1 {
			return list[0]
		}
		return errors.Join(list...)
	}
	return err
}

// idle reports whether err says nothing beside what list already says.
func idle(err error, list []error) bool {
	return len(list) > 0 && errors.Is(err, context.Canceled)
}

// A nodeDiag shows a failed node.
type nodeDiag struct {
	*solve.NodeError
	definition string
}

func (e *nodeDiag) Error() string { return e.located().Error() }
func (e *nodeDiag) Unwrap() error { return e.located() }

func (e *nodeDiag) located() *plan.Error {
	return &plan.Error{Pos: e.Node.Pos, Err: fmt.Errorf("%s: %w", e.Title(), e.Err)}
}

// Log implements diag.Logger.
func (e *nodeDiag) Log() (tail []string, path string) { return e.Tail, e.LogPath }

// Hint implements diag.Hinter.
func (e *nodeDiag) Hint() string {
	if !e.Kept.IsZero() {
		return fmt.Sprintf("the state at the failure was kept; enter it with: bake shell %s %s", e.definition, e.Kept)
	}
	var hint diag.Hinter
	if errors.As(e.Err, &hint) {
		return hint.Hint()
	}
	return hintFor(e.NodeError)
}
