package qemu

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"bake.build/bake/internal/need"
)

// TestChangedVariables compares the stores that come with Debian's OVMF: one is empty,
// the other has booted and has Microsoft's keys.
func TestChangedVariables(t *testing.T) {
	read := func(path string) []byte {
		need.File(t, path)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	empty, keys := read("/usr/share/OVMF/OVMF_VARS_4M.fd"), read("/usr/share/OVMF/OVMF_VARS_4M.ms.fd")
	enrolled := []string{"KEK", "PK", "SecureBootEnable", "db", "dbx"}
	for _, c := range []struct {
		name            string
		store, template []byte
		want            []string
	}{
		{"the template", keys, keys, nil},
		{"what firmware sets by itself, and keys", keys, empty, enrolled},
		{"keys that were removed", empty, keys, enrolled},
		{"a flash that was never used", make([]byte, 1<<20), empty, nil},
	} {
		got, err := changedVariables(c.store, c.template)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	for name, b := range map[string][]byte{"text": bytes.Repeat([]byte("no store\n"), 100), "cut": keys[:100], "nothing": nil} {
		if list, err := parseVariables(b); err == nil && len(list) > 0 {
			t.Errorf("%s: %v", name, list)
		}
	}
}

// FuzzVariables reads stores that somebody may have made.
func FuzzVariables(f *testing.F) {
	if b, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.ms.fd"); err == nil {
		f.Add(b[:32<<10])
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		list, _ := parseVariables(b)
		for _, v := range list {
			v.byFirmware()
		}
	})
}
