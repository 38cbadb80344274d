package lazyregexp

import "testing"

func TestRegexp(t *testing.T) {
	r := New(`b(c+)`)
	if !r.MatchString("abcc") || r.MatchString("ab") || r.FindString("abcc") != "bcc" {
		t.Error("matches something else")
	}
	if m := r.FindStringSubmatch("abcc"); len(m) != 2 || m[1] != "cc" {
		t.Errorf("groups %q", m)
	}
	wrong := New("(") // is not compiled yet
	defer func() {
		if recover() == nil {
			t.Error("a text that is no expression is taken")
		}
	}()
	wrong.MatchString("")
}
