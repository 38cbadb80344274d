package publish_test

import (
	"fmt"
	"maps"
	"testing"

	"bake.build/bake/platforms/publish"
)

// TestSettings takes off what a definition has set and does not set any more, whatever
// names there are, and nothing that others have set.
func TestSettings(t *testing.T) {
	have := map[string]string{"team": "auditors"}
	many := []string{"protect"}
	for n := range 7 {
		many = append(many, fmt.Sprintf("tag a name, with: %%signs é %d", n))
	}
	for _, c := range []struct{ set, dropped []string }{
		{[]string{"protect", "tag tier"}, nil},
		{many, []string{"tag tier"}},
		{[]string{"protect"}, many[1:]},
		{nil, []string{"protect"}},
		{[]string{"tag tier"}, nil},
	} {
		dropped := publish.Dropped(have, c.set)
		gone := map[string]bool{}
		for _, s := range dropped {
			gone[s] = true
		}
		for _, s := range c.dropped {
			if !gone[s] {
				t.Errorf("%q is not taken off", s)
			}
		}
		if len(dropped) != len(c.dropped) {
			t.Errorf("taken off %q, want %q", dropped, c.dropped)
		}
		maps.Copy(have, publish.SettingsMarks(c.set, 256, have))
		for name, value := range have {
			if len(value) > 256 {
				t.Errorf("%s has %d bytes", name, len(value))
			}
		}
	}
	for n := range 100 {
		many = append(many, fmt.Sprint("tag ", n))
	}
	if marks := publish.SettingsMarks(many, 256, nil); len(marks) != 2 || len(marks[publish.Settings]) < 200 {
		t.Errorf("too many settings: %v", marks)
	}
	if have["team"] != "auditors" {
		t.Errorf("what others have set: %v", have)
	}
}
