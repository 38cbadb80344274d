package spell

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"command", "script", "workdir", "user", "env", "rootfs", "qcow2"}
	for _, c := range []struct{ in, want string }{
		{"comand", "command"},
		{"Command", "command"},
		{"work_dir", "workdir"},
		{"rootfz", "rootfs"},
		{"qcow", "qcow2"},
		{"uesr", "user"},
		{"evn", "env"},
		{"x", ""},
		{"", ""},
		{"banana", ""},
		{"timeout", ""},
	} {
		if got := Nearest(c.in, names); got != c.want {
			t.Errorf("Nearest(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestHint(t *testing.T) {
	if got, want := Hint("zzzzzz", "options", []string{"b", "a"}), " (options: a, b)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := Hint("usr", "options", []string{"user"}), ` (did you mean "user"?)`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Hint("usr", "options", nil); got != "" {
		t.Errorf("got %q for no candidates", got)
	}
}
