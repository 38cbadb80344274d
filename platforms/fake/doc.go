// Package fake is a driver whose machines live in memory, for tests of what
// uses drivers. It counts calls, fails where it is told to, and keeps the
// promises of platforms as platformtest holds them. A layer's directory holds
// the whole tree as one file, so that layers can be kept in a store.
//
// Commands are those of a small shell of its own: see shell.go for what it
// knows. Nothing of the host is touched but layers' directories.
package fake
