// Package spec runs tests of definitions: functions test_…(t) in files whose names end
// in _test.star.
//
// Each function is a test by itself. It is run on a fresh evaluation of its file, with a
// plan of its own, so that no test sees what another did, and tests run in parallel. The
// limits of evaluation hold for each. Nothing is built, no network is asked and the
// environment is not seen, unless Options.Build says that t.run may build layers.
//
// T is what a test gets. Its methods are declared like builtins, in Methods. A failed
// assertion is noted at its line and the test goes on; an error ends the test.
//
// Coverage counts which statements ran. It adds a call to each statement of the syntax
// tree, after parsing and before compilation: positions in errors stay as they are.
package spec
