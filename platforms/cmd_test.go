package platforms

import (
	"bytes"
	"io"
	"testing"
)

// loose is a writer that cannot be compared.
type loose []io.Writer

func (loose) Write(p []byte) (int, error) { return len(p), nil }

// around holds another writer, and can be compared only where that can.
type around struct{ io.Writer }

func TestOneStream(t *testing.T) {
	one, other := &bytes.Buffer{}, &bytes.Buffer{}
	for what, c := range map[string]struct {
		stdout, stderr io.Writer
		want           bool
	}{
		"none":             {nil, nil, false},
		"one of two":       {one, nil, false},
		"the same":         {one, one, true},
		"two":              {one, other, false},
		"two types":        {one, around{one}, false},
		"equal values":     {around{one}, around{one}, true},
		"not comparable":   {loose{}, loose{}, false},
		"nor what is in":   {around{loose{}}, around{loose{}}, false},
		"only one of them": {around{one}, around{loose{}}, false},
	} {
		if got := (Cmd{Stdout: c.stdout, Stderr: c.stderr}).OneStream(); got != c.want {
			t.Errorf("%s: %t, want %t", what, got, c.want)
		}
	}
}
