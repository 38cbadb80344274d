package platformtest

import (
	"testing"

	"bake.build/bake/platforms"
)

// A Log keeps what a driver writes into its log. It is safe for concurrent use.
type Log struct{ buffer }

// Progress implements platforms.Logger.
func (*Log) Progress(string, int64, int64) {}

// A TestLog puts a driver's log into the test's.
type TestLog struct{ T testing.TB }

// Write implements io.Writer.
func (l TestLog) Write(p []byte) (int, error) {
	l.T.Logf("%s", p)
	return len(p), nil
}

// Progress implements platforms.Logger.
func (l TestLog) Progress(what string, _, _ int64) { l.T.Log(what) }

var (
	_ platforms.Logger = (*Log)(nil)
	_ platforms.Logger = TestLog{}
)

// Boot opens a machine on a layer that its platform keeps, and closes it when the test ends.
func Boot[M platforms.Machine](t testing.TB, d platforms.Driver, ref string) M {
	t.Helper()
	out := &Log{}
	m, err := d.Boot(t.Context(), []platforms.Layer{{Ref: ref}}, out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m.(M)
}

// Save makes a layer of what is in a machine. It returns the layer's reference, or "" where
// none was made.
func Save(t testing.TB, m platforms.Machine, s platforms.State) string {
	t.Helper()
	made, err := m.Commit(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if made.Dropped != (made.Ref == "") {
		t.Errorf("made %+v", made)
	}
	return made.Ref
}

// Sh runs a script that has to succeed, and returns what it says.
func Sh(t testing.TB, m platforms.Machine, script string) string {
	t.Helper()
	out := &buffer{}
	if err := m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-ec", script}, Stdout: out, Stderr: out}); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out.String()
}
