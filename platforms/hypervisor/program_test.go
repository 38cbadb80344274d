package hypervisor

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// TestEnded runs programs that end in each way.
func TestEnded(t *testing.T) {
	need.Tool(t, "sh")
	for script, want := range map[string]string{
		"echo fine >&2":                         "",
		"kill -TERM $$":                         "vm was ended by a signal: terminated",
		"exit 3":                                "vm: exit status 3",
		"echo first >&2; echo last >&2; exit 1": "vm: last",
		"echo qemu-x: no disk >&2; echo b >&2; exit 1": "vm: no disk",
		"printf 'a\\377b' >&2; exit 1":                 "vm: ab",
	} {
		o := &Output{Program: "qemu-"}
		cmd := exec.Command("sh", "-c", script)
		cmd.Stderr = o
		err := cmd.Run()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		got := ""
		if err := o.Ended("vm", cmd.ProcessState, err); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	// What a program says is kept to a bound.
	o := &Output{}
	for range 100 {
		if _, err := o.Write([]byte(strings.Repeat("x", 1000) + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.b) > outputMost || o.Why(errors.New("none")) != strings.Repeat("x", 1000) {
		t.Errorf("%d bytes are kept, and the last line is of %d", len(o.b), len(o.Why(nil)))
	}
}
