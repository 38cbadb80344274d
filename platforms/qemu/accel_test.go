package qemu

import (
	"context"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// TestProbe runs the small guest of each architecture by software emulation.
func TestProbe(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			need.Tool(t, binaryName(arch))
			binary, err := exec.LookPath(binaryName(arch))
			if err != nil {
				t.Fatal(err)
			}
			took, err := runProbe(t.Context(), binary, arch, "tcg")
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("took %v", took)
		})
	}
}

func TestChooseAccelerator(t *testing.T) {
	need.Tool(t, binaryName(runtime.GOARCH))
	binary, err := exec.LookPath(binaryName(runtime.GOARCH))
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	first, err := chooseAccelerator(t.Context(), binary, runtime.GOARCH, cache)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", first)
	if (first.name == "tcg") != (first.warning != "") {
		t.Errorf("software emulation and no warning, or the other way round: %+v", first)
	}
	// What was found is remembered: nothing runs that could be canceled.
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if again, err := chooseAccelerator(canceled, binary, runtime.GOARCH, cache); err != nil || again != first {
		t.Errorf("at first %+v, then %+v, %v", first, again, err)
	}
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	if a, err := chooseAccelerator(t.Context(), binary, other, cache); err != nil || a.name != "tcg" || !strings.Contains(a.warning, other) {
		t.Errorf("for %s: %+v, %v", other, a, err)
	}
}

// TestProbeFails gives a program that is no QEMU.
func TestProbeFails(t *testing.T) {
	need.Tool(t, "false")
	why, err := probe(t.Context(), "/bin/false", runtime.GOARCH, "kvm")
	if err != nil || !strings.Contains(why, "a guest does not run with KVM") {
		t.Errorf("got %q, %v", why, err)
	}
}
