// Package builtins is what a definition can call: one file per builtin, and one
// table of them.
//
// A Builtin declares its arguments as the fields of a Go struct. Decoding,
// checking, suggestions and the reference documentation come from that one
// declaration. A platform's constructor and the options of source() on it come
// from the platform's Spec in the same way.
//
// A Context holds the state of one definition: the plan that grows, the
// artifacts, parameters and secrets. Builtins add nodes to the plan; nothing
// runs. Values of the language (layers, artifacts, platforms, secrets) are
// immutable. A secret's value is never known here, only its name.
//
// A new builtin is a file here, its op in runtime/op, and one line in Table.
package builtins
