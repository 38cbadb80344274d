package build

import (
	"errors"
	"fmt"

	"bake.build/bake/platforms"
	"bake.build/bake/starlark/eval"
)

// A Kind says where the cause of an Error lies.
type Kind string

// The kinds of errors. An error without one is a step, a test or an export that
// failed.
const (
	KindUsage      Kind = "usage"      // the call names what does not exist, or has a wrong value
	KindDefinition Kind = "definition" // the definition, its parameters or its inputs are wrong
	KindHost       Kind = "host"       // this host lacks a tool, a right or space that the build needs
)

// An Error is an error whose cause is known.
type Error struct {
	Kind Kind
	Err  error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of err, or "".
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// of gives err a kind, unless it has one or is nil.
func of(kind Kind, err error) error {
	if err == nil || KindOf(err) != "" {
		return err
	}
	return &Error{kind, err}
}

// A SourceError comes from work on a definition, whose text can be shown.
type SourceError struct {
	Project *eval.Project // nil where none was found
	Err     error
}

// Error implements error.
func (e *SourceError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *SourceError) Unwrap() error { return e.Err }

// A LackError lists what this host lacks.
type LackError struct{ Problems []platforms.Problem }

// Error implements error.
func (e *LackError) Error() string {
	if len(e.Problems) == 1 {
		return e.Problems[0].What
	}
	return fmt.Sprintf("this host lacks %d things that the build needs", len(e.Problems))
}

// A hintError has a line that says what to do.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// Hint implements diag.Hinter.
func (e *hintError) Hint() string { return e.hint }

// WithHint gives err a line that says what to do. It implements diag.Hinter.
func WithHint(err error, hint string) error {
	if err == nil || hint == "" {
		return err
	}
	return &hintError{err, hint}
}
