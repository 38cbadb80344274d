// Package diag shows errors to people: where in the definition an error comes
// from, the line with a caret, the calls that led there, the end of the failed
// step's log and what may help.
//
// A Diagnostic is what is shown of one error. Of makes the diagnostics of any
// error: of Starlark's parser, resolver and interpreter, of package plan, of
// what wraps them, and of errors that know no position.
package diag
