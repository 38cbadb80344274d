package qemu

import (
	"errors"
	"strings"
	"testing"
)

func TestBootAgain(t *testing.T) {
	timer, other := errors.New("the guest's kernel panicked: IO-APIC + timer doesn't work!  Boot with apic=debug"), errors.New("the guest's kernel panicked: no init")
	for _, c := range []struct {
		name  string
		ends  []error
		boots int
		want  error
	}{
		{"at once", []error{nil}, 1, nil},
		{"the second time", []error{timer, nil}, 2, nil},
		{"never", []error{timer, timer, timer, nil}, 3, timer},
		{"another panic", []error{other, nil}, 1, other},
		{"another one later", []error{timer, other, nil}, 2, other},
	} {
		var out strings.Builder
		boots := 0
		_, err := bootAgain(&out, func() (*machine, error) {
			boots++
			return nil, c.ends[boots-1]
		})
		if boots != c.boots || err != c.want || strings.Count(out.String(), "starts again\n") != boots-1 {
			t.Errorf("%s: %d boots, %v, %q", c.name, boots, err, out.String())
		}
	}
}
