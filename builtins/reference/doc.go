// Package reference writes the reference of the language from the code: the
// table of builtins, the options that platforms declare, the formats of
// artifacts and the docstrings of the library. Nothing of it is kept by hand,
// so that it cannot fall behind.
package reference
