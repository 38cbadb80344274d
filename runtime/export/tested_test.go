package export

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bake.build/bake/runtime/plan"
)

// TestSettle has an artifact wait beside the last good one until it is known how
// its tests end.
func TestSettle(t *testing.T) {
	r := request(t, sampleTree(t), "tar", "oci")
	out := r.OutDir
	r.Key = plan.Key{1}
	if _, err := Run(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "notes.txt"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.Key, r.OutDir = plan.Key{2}, out+UntestedSuffix
	if _, err := Run(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	whole := func(dir string, key plan.Key) {
		t.Helper()
		if m, why, err := Current(dir, key, plan.HashFile{}); m == nil || err != nil {
			t.Errorf("%s: %s, %v", filepath.Base(dir), why, err)
		}
	}
	beside := func(want ...string) {
		t.Helper()
		if got := names(t, filepath.Dir(out)); !slices.Equal(got, want) {
			t.Errorf("there are %q, want %q", got, want)
		}
	}
	whole(out, plan.Key{1})
	if m, at, _, err := Find(out, plan.Key{2}, plan.HashFile{}); m == nil || at != r.OutDir || err != nil {
		t.Errorf("found at %s, %v", at, err)
	}
	settle := func(key plan.Key, passed bool, want string) {
		t.Helper()
		res, err := Settle(t.Context(), out, key, passed, plan.HashFile{})
		if err != nil || res.Dir != want {
			t.Fatalf("settled at %+v, %v; want %s", res, err, want)
		}
	}
	settle(plan.Key{2}, false, out+FailedSuffix)
	whole(out, plan.Key{1})
	whole(out+FailedSuffix, plan.Key{2})
	beside("web", "web.failed")
	settle(plan.Key{2}, false, out+FailedSuffix) // it stays failed
	settle(plan.Key{2}, true, out)               // until it passes
	whole(out, plan.Key{2})
	beside("web")
	if got := names(t, out); !slices.Contains(got, "notes.txt") || len(got) != 5 {
		t.Errorf("files %q", got)
	}
	// A test that was added fails on what was good before.
	settle(plan.Key{2}, false, out+FailedSuffix)
	whole(out+FailedSuffix, plan.Key{2})
	if got := names(t, out); !slices.Equal(got, []string{"notes.txt"}) {
		t.Errorf("left %q", got)
	}
	if _, err := Settle(t.Context(), out, plan.Key{3}, true, plan.HashFile{}); err == nil || !strings.Contains(err.Error(), "no longer there") {
		t.Errorf("of another key: %v", err)
	}
	beside("web", "web.failed")
}
