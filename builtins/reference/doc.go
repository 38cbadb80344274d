// Package reference makes the reference of the language from the code: the
// table of builtins, the options that platforms declare, the formats of
// artifacts and the docstrings of Starlark files. Nothing of it is kept by hand,
// so that it cannot fall behind.
//
// A Book is the reference as data. It is written as Markdown; what a terminal or
// a browser shows is made from that Markdown, and programs get the Book as JSON.
package reference
