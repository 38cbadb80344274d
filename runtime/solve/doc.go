// Package solve runs a sealed plan: it decides which nodes have to run and runs
// them in parallel.
//
// # Terms
//
// A unit is a node that has to run; identical nodes (equal keys) are one unit.
// A chain is a run of steps, each the parent of the next. A gate is a node that
// must have succeeded before another may begin, though its result is not used.
// An identity is the key under which a unit's result is kept; see below.
//
// # What runs
//
// Decide walks back from the targets. It stops at an artifact whose files are
// as they were written, at a layer that is in the store together with every
// layer below it, and at a test that is recorded as passed. What is reached and
// is not up to date has to run.
//
// A step that is marked always may give another result each time, though its
// key does not change. Such a step, and every node that depends on it, has a
// fresh identity in each run, a key of its own made from its preimage and a
// random number. So its descendants build on what this run made, none of it is
// taken for the result of another run, and nothing in the store is overwritten.
//
// # How it runs
//
// One machine serves a chain. It opens at the nearest layer in the store, stays
// up along the steps and commits a layer after each. Where a chain forks, the
// longest branch goes on in the machine and the others open their own from the
// committed layer. A machine is never taken past a failure: a step that is tried
// again begins in a new machine on its parent's layer.
//
// Units start in the order of the longest way that is left behind them, as soon
// as what they need is done and the resources that they claim are free.
//
// # Invariants
//
// A unit runs at most once in a run, and a layer is made at most once among all
// processes that share a store. Nothing leaves this package, as an event, an
// error or a log file, that holds the value of a secret. When Run returns, every
// machine that it opened is closed and every goroutine that it started has
// ended.
package solve
