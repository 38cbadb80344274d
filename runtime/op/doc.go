// Package op holds the steps: the data of each and how it changes a machine.
//
// An op is a pointer to a struct. The tag key of each field says under which
// name its value enters the layer's key, or "-" when it must not. An op knows
// no platform: it acts through platforms.Machine alone, and streams what it
// copies.
//
// Invariants: an op's data is complete before anything runs; it holds the names
// of secrets and never their values; applying an op twice to equal layers gives
// equal layers as far as the user's commands allow.
package op
