package ssh

import "testing"

// TestPrompting reads the last lines of consoles.
func TestPrompting(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		want  bool
	}{
		"nothing":  {nil, false},
		"starting": {[]string{"[  OK  ] Reached target getty.target - Login Prompts."}, false},
		"a prompt": {[]string{"Debian GNU/Linux 12 localhost ttyS0", "localhost login:"}, true},
		"the kernel goes on": {[]string{"localhost login: [   94.747751] kvm: Nested Virtualization enabled",
			"[   94.748232] SVM: kvm: Nested Paging enabled", "[  178.341603] hrtimer: interrupt took 17776220 ns"}, true},
		"going down":    {[]string{"localhost login:", "[  OK  ] Stopped ssh.service"}, false},
		"restarting":    {[]string{"localhost login:", "[  201.000000] reboot: Restarting system"}, false},
		"starting anew": {[]string{"localhost login:", "GRUB loading.", "[    0.000000] Linux version 6.1.0"}, false},
	} {
		if got := prompting(c.lines); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
