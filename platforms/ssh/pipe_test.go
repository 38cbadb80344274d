package ssh

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

// A hastySink is a program that fails as soon as it sees the end.
type hastySink struct {
	strings.Builder
	ended func()
}

func (s *hastySink) CloseWrite() error {
	s.ended()
	return nil
}

// TestFeed has a program end at once where what it is sent breaks off: why that is must be
// known by then, as the program's own complaint is told otherwise.
func TestFeed(t *testing.T) {
	broken := errors.New("broken")
	sent := make(chan error, 1)
	var source *sourceError
	known := false
	s := &hastySink{ended: func() { known = asSource(sent, &source) }}
	feed(s, "line\n", iotest.ErrReader(broken), sent)
	if !known || !errors.Is(source.err, broken) || s.String() != "line\n" {
		t.Errorf("at the end, that it broke was known: %t, %v; sent %q", known, source, s.String())
	}
}
