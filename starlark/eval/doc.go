// Package eval evaluates a definition: it runs Starlark files within limits,
// resolves what they load, and knows where each call comes from.
//
// A definition belongs to a Project: a root directory, which names that begin
// with "//" are relative to, and the files that were read. A module is one
// Starlark file. It is named by a path relative to the file that loads it, by
// a path from the root ("//lib/x.star"), or as a file of a library
// ("@bake//x.star"). Each module is evaluated once, on the thread and within
// the limits of the definition.
//
// Invariants: evaluation is hermetic, it sees no clock, no environment and no
// network, and every file of the project that it reads is recorded; nothing
// outside the root is loaded, through ".." or through a link; evaluation ends,
// by itself or by a limit. Limits hold inside of one operation, too: those that
// make much of little are rewritten to ones that look at their operands first,
// and what is left, such as a walk over values that hold one another many times,
// is given up when its time or its memory is used up.
package eval
