// Package lint finds in definitions what is allowed and hardly meant: what is never
// used, what hides a builtin, scripts that wait for an answer, run what they download,
// or show secrets, and orders of steps that the cache gains nothing from.
//
// A Rule is a function over one file and its documentation, with an example that is
// wrong and one that is right, which tests run. Rules lists all of them. Files are
// read, not evaluated: names are bound by the resolver of the language, texts are
// followed through constants, concatenation and formatting, and scripts are parsed as
// shell. What cannot be known so is left alone.
//
// A comment "# lint: disable=rule reason" switches a rule off, in a definition as in a
// script: at the end of a line for the statement there, on a line of its own for the
// statement that follows. One that switches nothing off is a finding itself.
package lint
