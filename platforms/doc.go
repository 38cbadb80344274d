// Package platforms defines what a platform is to the rest of bake: the
// Driver and the Machine, the optional interfaces that a driver may add, and
// the small interfaces through which the runtime lends a driver what it owns.
//
// A platform declares itself with a Spec: its name, the options of its
// constructor and the options of source() on it, each as one Go struct, from
// which decoding, checking, suggestions and the reference documentation come.
//
// The package imports the standard library only and no other package of bake.
package platforms
