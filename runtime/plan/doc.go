// Package plan is the immutable graph that one definition makes, and the keys
// of its nodes. It is pure data: it reads the files that are inputs, and runs
// nothing.
//
// A Builder collects nodes while a definition is evaluated. Seal then hashes
// every input, takes the pins of origins and computes every key, so that all
// of a plan's keys are known before anything runs. After Seal nothing in a
// plan changes.
//
// Invariants: equal keys mean that the results are interchangeable; positions,
// display names, timeouts and retries never reach a key; every field of an Op
// says by its tag whether it does.
package plan
