// Package platformtest is the conformance suite of drivers: what
// platforms.Driver and platforms.Machine promise, as tests. A driver joins with
// a test of some twenty lines that calls Run.
package platformtest
